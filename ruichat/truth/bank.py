"""Embeddings of labelled tiles, encoded once for every stage that lays them into slides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ruichat.errors import ArtifactError
from ruichat.storage.artifacts import write_atomic

_ENCODER = "encoder_digest"
_AGAIN = "Make it again with: ruichat align mini"


@dataclass(frozen=True, slots=True)
class TileBank:
    """Embeddings of all windows.

    Attributes:
        embeddings: float32 [n,v,d], v stains; the first is the window as it is.
        colour: float32 [n,v,m], statistics of colour for the colour-only control; m is up to who
            makes the bank.
        target: float32 [n,c], share of each class.
        partial, source, group, split: as in `TilePool`.
    """

    embeddings: NDArray[np.float32]
    colour: NDArray[np.float32]
    target: NDArray[np.float32]
    partial: NDArray[np.bool_]
    source: NDArray[Any]
    group: NDArray[Any]
    split: NDArray[Any]

    def where(self, keep: NDArray[np.bool_]) -> TileBank:
        """The windows for which `keep` holds."""
        return TileBank(**{name: getattr(self, name)[keep] for name in TileBank.__slots__})

    def save(self, path: Path, encoder_digest: str = "") -> None:
        """Write as one .npz file; see `encoder_of_bank` for the digest of the encoder's weights."""
        arrays = {name: getattr(self, name) for name in TileBank.__slots__}
        arrays[_ENCODER] = np.array(encoder_digest)
        write_atomic(path, lambda file: np.savez(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> TileBank:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the file is damaged, or another's.
        """
        try:
            with np.load(path) as stored:
                bank = cls(**{name: stored[name] for name in cls.__slots__})
            lengths = {len(getattr(bank, name)) for name in cls.__slots__}
        except (OSError, EOFError, BadZipFile, KeyError, ValueError, TypeError) as error:
            raise ArtifactError(f"{path} is no bank of tiles: {error}", hint=_AGAIN) from error
        if bank.embeddings.ndim != 3 or len(lengths) != 1:
            raise ArtifactError(f"{path}: its arrays don't fit each other", hint=_AGAIN)
        return bank

    def digest(self) -> str:
        """SHA-256 (hex) over all that it holds."""
        content = hashlib.sha256()
        for name in TileBank.__slots__:
            array = np.ascontiguousarray(getattr(self, name))
            content.update(f"{name} {array.dtype} {array.shape} ".encode())
            content.update(array.tobytes())
        return content.hexdigest()


def encoder_of_bank(path: Path) -> str:
    """Digest of the encoder's weights that made a bank which can be loaded; "" if none says so."""
    with np.load(path) as stored:
        return str(stored[_ENCODER]) if _ENCODER in stored else ""


def join_banks(banks: Sequence[TileBank]) -> TileBank:
    """All windows in order; of their views only as many as every bank has."""
    views = min(bank.embeddings.shape[1] for bank in banks)
    parts: dict[str, Any] = {
        name: [getattr(bank, name) for bank in banks] for name in TileBank.__slots__
    }
    for name in ("embeddings", "colour"):
        parts[name] = [part[:, :views] for part in parts[name]]
    return TileBank(**{name: np.concatenate(part) for name, part in parts.items()})
