"""A picture of what was found on a slide, for people to check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ruichat.slide.geometry import fit_factor
from ruichat.units import scale_length

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from ruichat.slide.arrays import Bytes
    from ruichat.slide.grid import TileGrid
    from ruichat.slide.slide import Slide
    from ruichat.slide.slide_quality import Fault, SlideQuality
    from ruichat.slide.tissue import TissueMask

TILE_COLOR = (0, 150, 60)

FAULT_COLORS: dict[Fault, tuple[int, int, int]] = {
    "blur": (0, 114, 178),
    "pen": (0, 158, 115),
    "fold": (213, 94, 0),
    "bubble": (86, 180, 233),
    "border": (90, 90, 90),
    "odd_stain": (240, 228, 66),
}
"""Source: Okabe and Ito 2008, colours that people with any kind of colour vision tell apart."""

TINT = 0.55
"""Opacity of a fault's colour."""

MAX_SCALE_SHARE = 0.25
"""Longest scale bar as a share of the picture's width."""

MIN_WIDTH_PX = 320
"""A narrower picture gets a legend of this width."""


def draw_tissue(
    slide: Slide,
    tissue: TissueMask,
    grid: TileGrid | None = None,
    quality: SlideQuality | None = None,
    *,
    max_px: int,
) -> Image:
    """The thumbnail with everything but tissue darkened, tiles outlined and faults tinted.

    Below it stand the colours that were used and a scale bar.
    """
    from PIL import Image, ImageDraw

    view = slide.thumbnail(max_px).copy()
    size = (view.shape[1], view.shape[0])
    mask = np.asarray(Image.fromarray(tissue.mask).resize(size, Image.Resampling.NEAREST))
    view[~mask] //= 2
    entries: list[tuple[str, tuple[int, int, int]]] = []
    if quality is not None:
        entries += _tint(view, quality)
    image = Image.fromarray(view)
    if grid is not None:
        entries.append((f"{len(grid)} tiles", TILE_COLOR))
        draw = ImageDraw.Draw(image)
        factor = fit_factor(slide.width0, slide.height0, max_px)
        for x, y in grid.xy0 / factor:
            side = grid.span0 / factor
            draw.rectangle((x, y, x + side, y + side), outline=TILE_COLOR)
    return _with_legend(image, entries, slide.width0 * slide.mpp.value / 1000)


def _tint(view: Bytes, quality: SlideQuality) -> list[tuple[str, tuple[int, int, int]]]:
    """Lay each fault's colour over the view; returns what to write in the legend."""
    from PIL import Image

    entries: list[tuple[str, tuple[int, int, int]]] = []
    for finding in quality.findings:
        if not finding.mask.any():
            continue
        color = FAULT_COLORS[finding.fault]
        size = (view.shape[1], view.shape[0])
        found = Image.fromarray(finding.mask).resize(size, Image.Resampling.NEAREST)
        mask = np.asarray(found)
        view[mask] = np.round(view[mask] * (1 - TINT) + np.array(color) * TINT).astype(np.uint8)
        entries.append((f"{finding.fault.replace('_', ' ')} {finding.share:.1%}", color))
    return entries


def _with_legend(
    image: Image, entries: list[tuple[str, tuple[int, int, int]]], width_mm: float
) -> Image:
    """The picture above a strip with coloured entries and a scale bar."""
    from PIL import Image as images
    from PIL import ImageDraw, ImageFont

    font_px = max(12, round(max(image.size) / 70))
    font = ImageFont.load_default(font_px)
    width = max(image.width, MIN_WIDTH_PX)
    line = round(font_px * 1.8)
    places: list[tuple[int, int]] = []
    x, row = font_px, 0
    for text, _ in entries:
        needed = round(font.getlength(text)) + 3 * font_px
        if x > font_px and x + needed > width:
            x, row = font_px, row + 1
        places.append((x, row))
        x += needed
    top = image.height
    canvas = images.new("RGB", (width, top + (row + 2) * line + font_px), (255, 255, 255))
    canvas.paste(image)
    draw = ImageDraw.Draw(canvas)
    for (text, color), (x, row_of) in zip(entries, places, strict=True):
        y = top + row_of * line + line // 2
        draw.rectangle((x, y - font_px // 2, x + font_px, y + font_px // 2), fill=color)
        draw.text((x + 1.4 * font_px, y), text, fill=0, font=font, anchor="lm")
    _draw_scale(draw, image.width / width_mm, image.width, top + (row + 1) * line, font_px)
    return canvas


def _draw_scale(draw: ImageDraw, px_per_mm: float, width: int, y: int, font_px: int) -> None:
    from PIL import ImageFont

    length_mm = scale_length(width / px_per_mm * MAX_SCALE_SHARE)
    end = font_px + length_mm * px_per_mm
    draw.rectangle((font_px, y + font_px * 0.6, end, y + font_px * 0.9), fill=0)
    place = (end + font_px * 0.5, y + font_px * 0.75)
    draw.text(place, f"{length_mm:g} mm", fill=0, font=ImageFont.load_default(font_px), anchor="lm")
