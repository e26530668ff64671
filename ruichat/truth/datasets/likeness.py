"""Texts that say the same in nearly the same words, found without comparing all with all."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

ALIKE = 0.8
"""Share of common pieces from which texts count as nearly identical. Ours: one word changed in a
question of twenty."""

PIECE_CHARS = 5
"""Length of the pieces that texts are compared by; short enough for Chinese words too."""

NUM_BANDS, BAND_HASHES = 16, 3
"""Texts are compared if a band agrees: at a likeness of 0.8 in all but 1 of 100,000 cases."""

_BLANK = re.compile(r"[\W_]+")
_DRAWN = np.random.default_rng(0)
_FACTORS = _DRAWN.integers(1, 2**63, NUM_BANDS * BAND_HASHES, np.uint64) * np.uint64(2) + np.uint64(
    1
)
_POWERS = np.uint64(0x9E3779B97F4A7C15) ** np.arange(PIECE_CHARS, dtype=np.uint64)

Pieces = NDArray[np.uint64]


def plain_words(text: str) -> str:
    """Text without case and punctuation, words apart by one space."""
    return _BLANK.sub(" ", text.casefold()).strip()


def pieces_of(text: str) -> Pieces:
    """Hashes of all pieces of a text, each once, in order; of the whole where it is shorter."""
    codes = np.frombuffer(plain_words(text).encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = codes.astype(np.uint64)
    if len(codes) < PIECE_CHARS:
        codes = np.pad(codes, (0, PIECE_CHARS - len(codes)))
    windows = np.lib.stride_tricks.sliding_window_view(codes, PIECE_CHARS)
    hashes = (windows * _POWERS).sum(1, dtype=np.uint64)
    hashes ^= hashes >> np.uint64(31)
    return np.unique(hashes * np.uint64(0xBF58476D1CE4E5B9))


def likeness(one: Pieces, other: Pieces) -> float:
    """Share of the pieces of either that both have, 0 to 1.

    Source:
        Jaccard's index.
    """
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


class TextIndex:
    """Texts by number, to be found again by one that is nearly identical.

    Source:
        MinHash in bands, Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4.
    """

    def __init__(self) -> None:
        self._pieces: list[Pieces] = []
        self._bands: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, text: str) -> int:
        """Take a text in; its number counts from 0."""
        pieces = pieces_of(text)
        self._pieces.append(pieces)
        for key in _band_keys(pieces):
            self._bands.setdefault(key, []).append(len(self._pieces) - 1)
        return len(self._pieces) - 1

    def find(self, text: str) -> list[int]:
        """Numbers of the texts that are nearly identical to this one."""
        pieces = pieces_of(text)
        near = {number for key in _band_keys(pieces) for number in self._bands.get(key, ())}
        return sorted(n for n in near if likeness(pieces, self._pieces[n]) >= ALIKE)


def _band_keys(pieces: Pieces) -> list[int]:
    least = np.empty(len(_FACTORS), np.uint64)
    for at, factor in enumerate(_FACTORS):
        mixed = pieces * factor
        least[at] = (mixed ^ (mixed >> np.uint64(29))).min()
    bands = least.reshape(NUM_BANDS, BAND_HASHES)
    return [hash((band, *row)) for band, row in enumerate(bands.tolist())]
