"""Keeps answers balanced, so that no question can be answered without the slide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ruichat.truth.dialogues.grammar import pick


class Balance:
    """Counts the answers given so far to each question, and says which is wanted next.

    One instance goes through a whole run of dialogues (one per data-loading process); the slides
    may hold the classes in any proportion.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def state_dict(self) -> dict[tuple[str, str], int]:
        """The counts so far, for a checkpoint."""
        return dict(self._counts)

    def load_state_dict(self, state: dict[tuple[str, str], int]) -> None:
        """Go on from the counts that `state_dict` gave."""
        self._counts = Counter(state)

    def count(self, slot: str, key: str) -> int:
        """How often the question `slot` was answered by `key`."""
        return self._counts[slot, key]

    def add(self, slot: str, key: str) -> None:
        """Note an answer."""
        self._counts[slot, key] += 1

    def wants(self, slot: str, key: str, rivals: Sequence[str]) -> bool:
        """Whether `key` is no more frequent than any of the other answers to `slot`."""
        own = self._counts[slot, key]
        return all(own <= self._counts[slot, rival] for rival in rivals if rival != key)

    def accepts(self, rng: np.random.Generator, slot: str, key: str, rivals: Sequence[str]) -> bool:
        """As `wants` where rivals may be rare or never occur: excess is thinned, not stopped."""
        mean = sum(self._counts[slot, rival] for rival in rivals) / len(rivals)
        return rng.random() < ((mean + 1) / (self._counts[slot, key] + 1)) ** 3

    def rarest(self, rng: np.random.Generator, slot: str, keys: Sequence[str]) -> str:
        """The key given least often so far; ties at random."""
        fewest = min(self._counts[slot, key] for key in keys)
        return pick(rng, [key for key in keys if self._counts[slot, key] == fewest])
