"""Which tiles are worth reading: those that aren't mostly blurred, inked, folded or bubble."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from ruichat.config import Config
from ruichat.slide.geometry import mask_fractions
from ruichat.slide.grid import TileGrid
from ruichat.slide.slide_quality import Fault, SlideQuality

SPOILING: tuple[Fault, ...] = ("blur", "pen", "fold", "bubble")
"""Faults that leave nothing to be read."""


class ChoiceConfig(Config):
    """When a tile is left out."""

    max_spoilt: float = Field(default=0.5, ge=0, le=1)
    """Share of a tile's tissue that faults may cover."""
    min_kept: float = Field(default=0.05, ge=0, le=1)
    """Where fewer of the tiles are left than this share, they are stray ones: all are kept."""


@dataclass(frozen=True)
class TileChoice:
    """Tiles of one slide and what became of the others.

    Attributes:
        grid: the tiles to read, in the order of the grid that they were chosen from.
        left_out: number of tiles by the fault that covers most of them, those with any.
        all_spoilt: hardly a tile was unspoilt, so that all were kept.
    """

    grid: TileGrid
    left_out: dict[Fault, int]
    all_spoilt: bool = False

    @property
    def warning(self) -> str | None:
        """What the user should know, or None."""
        if self.all_spoilt:
            return (
                "nearly every tile is blurred, inked, folded or under a bubble; "
                "answers may be wrong"
            )
        if not self.left_out:
            return None
        num = sum(self.left_out.values())
        whole = num + len(self.grid)
        causes = ", ".join(f"{fault} {count}" for fault, count in self.left_out.items())
        return f"{num} of {whole} tiles left out: {causes}"


def choose_tiles(grid: TileGrid, quality: SlideQuality, config: ChoiceConfig) -> TileChoice:
    """Leave out the tiles whose tissue is mostly spoilt; where that is nearly every tile, none."""
    masks = [quality.finding(fault).mask for fault in SPOILING]
    spoilt = np.logical_or.reduce(masks)
    if not spoilt.any():
        return TileChoice(grid, {})

    def share(mask: np.ndarray) -> np.ndarray:
        return mask_fractions(mask, quality.downsample, grid.xy0, grid.span0)

    # What hides tissue counts as tissue, so a tile that is half pen, half glass is spoilt.
    out = share(spoilt) > config.max_spoilt * np.maximum(share(spoilt | quality.tissue), 1e-6)
    if (~out).sum() < config.min_kept * len(grid):
        return TileChoice(grid, {}, all_spoilt=True)
    cause = np.argmax([share(mask) for mask in masks], axis=0)[out]
    counts = np.bincount(cause, minlength=len(SPOILING)).tolist()
    left_out: dict[Fault, int] = {
        fault: num for fault, num in zip(SPOILING, counts, strict=True) if num
    }
    return TileChoice(replace(grid, xy0=grid.xy0[~out]), left_out)
