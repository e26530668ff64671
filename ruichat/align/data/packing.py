"""Which dialogues make a micro-batch: alike in length, under a budget, by the epoch alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ruichat.config import Config

Numbers = NDArray[np.int64]
"""One number for each of some dialogues."""

STEP = 16
"""Rows are padded to a multiple of this, so that kernels see few shapes."""


class Budget(Config):
    """What fits one forward; see `ruichat align plan`."""

    tokens: int = Field(default=4096, gt=0)
    """Text tokens of a micro-batch, padding among them."""
    tiles: int = Field(default=32_768, gt=0)
    """Tiles of a micro-batch's slides."""
    window: int = Field(default=512, gt=0)
    """Dialogues, neighbours in the epoch's random order, that are sorted by length."""


def pack(tokens: Numbers, tiles: Numbers, budget: Budget, seed: Sequence[int]) -> list[Numbers]:
    """Every dialogue in one micro-batch of an epoch.

    Args:
        tokens: of each dialogue; none above the budget.
        tiles: of each dialogue's slides; none above the budget.
        budget: of a micro-batch.
        seed: of the epoch; all choices come from it.

    Returns:
        Indices of dialogues by micro-batch, in random order.
    """
    rng = np.random.default_rng(tuple(seed))
    order = rng.permutation(len(tokens))
    padded = -(-tokens // STEP) * STEP
    found: list[Numbers] = []
    for start in range(0, len(order), budget.window):
        window = order[start : start + budget.window]
        # By the padded length, then by tiles: rows alike in both waste least.
        window = window[np.lexsort((tiles[window], padded[window]))]
        found += _cut(window, padded, tiles, budget)
    return [found[i] for i in rng.permutation(len(found))]


def _cut(window: Numbers, padded: Numbers, tiles: Numbers, budget: Budget) -> list[Numbers]:
    """Neighbours as long as a budget lasts; lengths rise, so the last row's is the longest."""
    found: list[Numbers] = []
    start, used = 0, 0
    for end, row in enumerate(window):
        full = (end - start + 1) * int(padded[row]) > budget.tokens
        if end > start and (full or used + int(tiles[row]) > budget.tiles):
            found.append(window[start:end])
            start, used = end, 0
        used += int(tiles[row])
    return [*found, window[start:]]
