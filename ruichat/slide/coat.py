"""Pen strokes in the colour of a stain: red ink on eosin, violet ink on hematoxylin."""

from __future__ import annotations

from typing import cast

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from ruichat.config import Config
from ruichat.slide.arrays import Bools, Floats, Ints
from ruichat.slide.morphology import near, without_small
from ruichat.slide.tissue import otsu

FEW_CELLS = 50
"""Fewer coloured cells tell nothing about the slide's own stain."""

PALE_GREEN = 0.12
"""Tissue that absorbs less green counts as paler tissue in any case."""

OFF_USUAL = 0.06
"""Least difference of a ratio of channels from that of the slide's paler tissue."""


class Coat(Config):
    """An ink of a stain's colour: told by being stronger than the slide's own and purer.

    Limits are ours, set on strokes drawn over clean tissue of eleven sources, of which none was
    marked.
    """

    less_red: bool
    """Absorbs less red and more blue for its green than tissue does; else the other way round."""
    strength: float
    """Times the green absorption of the slide's paler tissue."""
    min_green: float
    """Least optical density in green."""
    red_green: tuple[float, float]
    """Red over green, least and most."""
    blue_green: tuple[float, float]
    """Blue over green, least and most."""


def coated(
    least: Float32[Floats, "h w 3"],
    stained: Bool[Bools, "h w"],
    cells: int,
    coat: Coat,
    min_length: float,
    min_cells: float,
) -> Bool[Bools, "h w"]:
    """Strokes in the colour of a stain.

    They absorb more than the slide's own tissue where that is palest, and are farther from the
    colour of its paler half, which a fold, being more of the same, isn't.
    """
    red, green, blue = least[..., 0], least[..., 1], least[..., 2]
    if stained.sum() < FEW_CELLS:
        return np.zeros_like(stained)
    pale = stained & (green < max(otsu(green[stained]), PALE_GREEN))
    if not pale.any():
        return np.zeros_like(stained)
    base: Floats = np.maximum(green, 0.02).astype(np.float32)
    strong = coat.strength * float(np.median(green[pale]))
    inked = green > max(strong, coat.min_green)
    for ratio, (low, high), lower in (
        (red / base, coat.red_green, coat.less_red),
        (blue / base, coat.blue_green, not coat.less_red),
    ):
        usual = float(np.median(ratio[pale]))
        away = usual - ratio if lower else ratio - usual
        inked &= (ratio > low) & (ratio < high) & (away > OFF_USUAL)
    inked = without_small(_opened(inked, cells), min_cells)
    inked = long_parts(inked, min_length)
    return near(inked, 1.0) & (green > 0.8 * strong)


def long_parts(mask: Bool[Bools, "h w"], min_length: float) -> Bool[Bools, "h w"]:
    """Connected parts at least so many times as long as wide, as far as they are in view."""
    labels, num = cast(tuple[Ints, int], ndimage.label(mask))
    depth = cast(Floats, ndimage.distance_transform_edt(mask)).ravel()
    cells = np.bincount(labels.ravel(), minlength=num + 1)
    mean = np.bincount(labels.ravel(), depth, minlength=num + 1) / np.maximum(cells, 1)
    keep = cells >= min_length * np.maximum(4 * mean - 1, 1) ** 2
    keep[0] = False
    return keep[labels]


def _opened(mask: Bool[Bools, "h w"], cells: int) -> Bool[Bools, "h w"]:
    return cast(Bools, ndimage.binary_opening(mask, iterations=cells // 2 + 1))
