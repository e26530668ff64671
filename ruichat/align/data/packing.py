"""Which dialogues make a micro-batch: alike in length, under a budget, by the epoch alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

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
    row_tokens: int = Field(default=0, ge=0)
    """Text tokens of a row that several dialogues share, each seeing itself alone; 0 gives each
    dialogue a row of its own. Flash attention reads one row at a time: set it to `tokens` there."""
    window: int = Field(default=512, gt=0)
    """Dialogues, neighbours in the epoch's random order, that are sorted by length."""

    @model_validator(mode="after")
    def _holds_a_row(self) -> Budget:
        if self.row_tokens and not STEP <= self.row_tokens <= self.tokens:
            raise ValueError(
                f"row_tokens is {self.row_tokens}; allowed: 0, or {STEP} to tokens ({self.tokens})"
            )
        return self

    @property
    def longest(self) -> int:
        """Text tokens of the longest row."""
        return (self.row_tokens or self.tokens) // STEP * STEP


class BatchConfig(Config):
    """How dialogues become batches."""

    budget: Budget = Budget()
    micro_batches: int = Field(default=8, ge=1)
    """Of a global batch, dealt to the processes."""
    epochs: int = Field(default=1, ge=1)
    """How often every dialogue is seen."""
    facts: bool = True
    """Whether the slide's measured facts stand before the first question, as in answering."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Dialogues of one micro-batch.

    Attributes:
        dialogues: their indices.
        row: in which row each of them stands, behind those of the same row before it.
    """

    dialogues: Numbers
    row: Numbers


def pack(tokens: Numbers, tiles: Numbers, budget: Budget, seed: Sequence[int]) -> list[Packed]:
    """Every dialogue in one micro-batch of an epoch.

    Args:
        tokens: of each dialogue; none above `budget.longest`.
        tiles: of each dialogue's slides; none above the budget.
        budget: of a micro-batch.
        seed: of the epoch; all choices come from it.

    Returns:
        Micro-batches in random order.
    """
    rng = np.random.default_rng(tuple(seed))
    order = rng.permutation(len(tokens))
    found: list[Packed] = []
    for start in range(0, len(order), budget.window):
        window = order[start : start + budget.window]
        row = np.arange(len(window))
        if budget.row_tokens:
            window, row = _fill(window, tokens, tiles, budget)
        found += _cut(window, row, tokens, tiles, budget)
    return [found[i] for i in rng.permutation(len(found))]


def _fill(
    window: Numbers, tokens: Numbers, tiles: Numbers, budget: Budget
) -> tuple[Numbers, Numbers]:
    """Dialogues, the longest first, each with the fullest row that has room for it."""
    window = window[np.lexsort((-tiles[window], -tokens[window]))]
    free_tokens = np.full(len(window), budget.longest)
    free_tiles = np.full(len(window), budget.tiles)
    row = np.zeros_like(window)
    num = 0
    for at, one in enumerate(window):
        fits = (free_tokens[:num] >= tokens[one]) & (free_tiles[:num] >= tiles[one])
        if fits.any():
            chosen = int(np.where(fits, free_tokens[:num], budget.longest + 1).argmin())
        else:
            chosen, num = num, num + 1
        row[at] = chosen
        free_tokens[chosen] -= tokens[one]
        free_tiles[chosen] -= tiles[one]
    return window, row


def _cut(
    window: Numbers, row: Numbers, tokens: Numbers, tiles: Numbers, budget: Budget
) -> list[Packed]:
    """Neighbouring rows as long as a budget lasts; lengths rise, so the last is the longest."""
    num = int(row.max()) + 1
    length, heavy = (np.bincount(row, of[window], num).astype(np.int64) for of in (tokens, tiles))
    padded = -(-length // STEP) * STEP
    # By the padded length, then by tiles: rows alike in both waste least.
    order = np.lexsort((heavy, padded))
    place = np.argsort(order)[row]
    sorted_by_row = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place, minlength=num))
    found: list[Packed] = []
    start, used = 0, 0

    def close(stop: int) -> None:
        chosen = sorted_by_row[(ends[start - 1] if start else 0) : ends[stop - 1]]
        found.append(Packed(window[chosen], place[chosen] - start))

    for at, one in enumerate(order):
        full = (at - start + 1) * int(padded[one]) > budget.tokens
        if at > start and (full or used + int(heavy[one]) > budget.tiles):
            close(at)
            start, used = at, 0
        used += int(heavy[one])
    close(num)
    return found
