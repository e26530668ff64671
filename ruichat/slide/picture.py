"""A picture of what was found on a slide, for people to check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ruichat.slide.geometry import fit_factor

if TYPE_CHECKING:
    from PIL.Image import Image

    from ruichat.slide.grid import TileGrid
    from ruichat.slide.slide import Slide
    from ruichat.slide.tissue import TissueMask

TILE_COLOR = (0, 150, 60)


def draw_tissue(slide: Slide, tissue: TissueMask, grid: TileGrid | None, *, max_px: int) -> Image:
    """The thumbnail with everything but tissue darkened and the tiles outlined."""
    from PIL import Image, ImageDraw

    view = slide.thumbnail(max_px).copy()
    size = (view.shape[1], view.shape[0])
    mask = np.asarray(Image.fromarray(tissue.mask).resize(size, Image.Resampling.NEAREST))
    view[~mask] //= 2
    image = Image.fromarray(view)
    if grid is not None:
        draw = ImageDraw.Draw(image)
        factor = fit_factor(slide.width0, slide.height0, max_px)
        for x, y in grid.xy0 / factor:
            side = grid.span0 / factor
            draw.rectangle((x, y, x + side, y + side), outline=TILE_COLOR)
    return image
