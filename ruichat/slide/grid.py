"""Where tiles lie: squares of a physical size over the tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from ruichat.config import Config
from ruichat.errors import InputError
from ruichat.slide.arrays import Ints
from ruichat.slide.geometry import lay_axis, mask_fractions
from ruichat.units import to_px0

if TYPE_CHECKING:
    from ruichat.slide.slide import Slide
    from ruichat.slide.tissue import TissueMask

MAX_MAGNIFY = 1.5
"""Tiles may be read from pixels up to so much coarser than theirs; beyond, detail is invented."""


class GridConfig(Config):
    """How tiles are laid."""

    tile_px: int = Field(default=224, gt=0)
    """Side of a tile in pixels, as the encoder wants it."""
    tile_mpp: float = Field(default=0.5, gt=0)
    """Resolution at which tiles are read, micrometres per pixel."""
    min_tissue: float = Field(default=0.25, ge=0, le=1)
    """Share of a tile that must be tissue."""

    @property
    def tile_um(self) -> float:
        """Side of a tile in micrometres."""
        return self.tile_px * self.tile_mpp


@dataclass(frozen=True)
class TileGrid:
    """Tiles of one slide, row by row.

    Attributes:
        xy0: top left corners, sorted by y, then x.
        span0: side of each tile.
        tile_px: pixels a side when read.
        tile_mpp: micrometres per pixel when read.
    """

    xy0: Int64[Ints, "n 2"]
    span0: int
    tile_px: int
    tile_mpp: float

    def __len__(self) -> int:
        return len(self.xy0)


def lay_grid(slide: Slide, tissue: TissueMask, config: GridConfig) -> TileGrid:
    """Lay tiles over the slide and keep those on tissue.

    Raises:
        InputError: the slide is too coarse or too small for such tiles, or has no tissue.
    """
    base = slide.mpp.value
    _check_scale(slide, config)
    span0 = to_px0(config.tile_px, mpp=config.tile_mpp, base_mpp=base)
    columns, rows = lay_axis(slide.width0, span0), lay_axis(slide.height0, span0)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    xy0 = np.stack([x.ravel(), y.ravel()], axis=1)
    covered = mask_fractions(tissue.mask, tissue.downsample, xy0, span0)
    kept = xy0[covered >= max(config.min_tissue, np.finfo(np.float32).tiny)]
    if len(kept) == 0:
        raise InputError(
            f"no tissue on {slide.path.name}: {tissue.area_mm2:.3f} mm2 found, and no tile is "
            f"{config.min_tissue:.0%} tissue",
            hint=f"Look at what was found: ruichat slide check {slide.path.name} "
            + (f"--mpp {base:g} " if slide.mpp.source == "user" else "")
            + "--overlay check.png",
        )
    return TileGrid(kept, int(span0), config.tile_px, config.tile_mpp)


def _check_scale(slide: Slide, config: GridConfig) -> None:
    base = slide.mpp.value
    if base > config.tile_mpp * MAX_MAGNIFY:
        raise InputError(
            f"{slide.path.name} has {base:.4g} micrometres per pixel; tiles need "
            f"{config.tile_mpp:g}, at most {config.tile_mpp * MAX_MAGNIFY:g}",
            hint="Give the full-resolution scan"
            + (", or correct --mpp" if slide.mpp.source == "user" else ""),
        )
    size_um = slide.width0 * base, slide.height0 * base
    if min(size_um) < config.tile_um * 0.999:
        raise InputError(
            f"{slide.path.name} shows {size_um[0]:.0f} x {size_um[1]:.0f} um; one tile is "
            f"{config.tile_um:g} um a side",
            hint="Give a larger region"
            + (", or correct --mpp" if slide.mpp.source == "user" else ""),
        )
