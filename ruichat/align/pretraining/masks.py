"""Which patches are hidden from the student."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ruichat.config import Config

_TRIES = 10
"""Blocks that may fall on what is hidden already before single patches fill up."""


class MaskConfig(Config):
    """How much is hidden, of how many crops."""

    crops: float = Field(0.5, ge=0, le=1)
    """Share of the global crops of which something is hidden."""
    share: tuple[float, float] = (0.1, 0.5)
    """Least and largest share of a crop's patches."""
    least_aspect: float = Field(0.3, gt=0, le=1)
    """Of a block's sides; the largest is one over it."""

    @model_validator(mode="after")
    def _ordered(self) -> MaskConfig:
        low, high = self.share
        if not 0 < low <= high < 1:
            raise ValueError(f"share must rise within 0 to 1, found {low} to {high}")
        return self


def draw_masks(
    num_crops: int, side: int, config: MaskConfig, rng: np.random.Generator
) -> Bool[NDArray[np.bool_], "n p"]:
    """Hidden patches of each crop, in blocks; which crops is drawn too.

    The shares are spread evenly between least and largest, so every batch has crops of which
    little and of which much is hidden.

    Args:
        num_crops: n.
        side: patches along a crop's side.
        config: how much.
        rng: decides.

    Source:
        Blocks: BEiT, Bao et al. 2022, arXiv:2106.08254; spread shares: DINOv2. Ours: exactly the
        wanted number is hidden.
    """
    masks = np.zeros((num_crops, side, side), bool)
    num = round(num_crops * config.crops)
    edges = np.linspace(*config.share, num + 1)
    rows = rng.permutation(num_crops)[:num]
    for row, low, high in zip(rows, edges[:-1], edges[1:], strict=True):
        wanted = max(1, round(side * side * rng.uniform(low, high)))
        _hide(masks[row], wanted, config.least_aspect, rng)
    return masks.reshape(num_crops, -1)


def _hide(
    mask: Bool[NDArray[np.bool_], "s s"], wanted: int, least_aspect: float, rng: np.random.Generator
) -> None:
    side, missed = len(mask), 0
    while missed < _TRIES and (left := wanted - int(mask.sum())) > 0:
        area = rng.uniform(min(4, left), left) if left > 1 else 1
        aspect = math.exp(rng.uniform(math.log(least_aspect), -math.log(least_aspect)))
        h, w = (min(side, max(1, round(math.sqrt(area * a)))) for a in (aspect, 1 / aspect))
        y, x = rng.integers(side - h + 1), rng.integers(side - w + 1)
        block = mask[y : y + h, x : x + w]
        if 0 < block.size - int(block.sum()) <= left:
            block[:] = True
        else:
            missed += 1
    left = wanted - int(mask.sum())
    if left > 0:
        free = np.flatnonzero(~mask.ravel())
        mask.ravel()[rng.permutation(free)[:left]] = True
