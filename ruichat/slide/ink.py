"""Pen marks on the cover glass, over tissue or beside it."""

from __future__ import annotations

from typing import cast

import numpy as np
from jaxtyping import Bool, Float32
from pydantic import Field
from scipy import ndimage

from ruichat.config import Config
from ruichat.slide.arrays import Bools, Floats
from ruichat.slide.coat import FEW_CELLS, Coat, coated, long_parts
from ruichat.slide.morphology import closed, near, touching, without_small
from ruichat.slide.stain import BLUE_GREEN_MAX, RED_GREEN, extremes

ENOUGH_CELLS = 50_000
"""More cells don't make the slide's own stain any clearer."""

USUAL_BLUE_GREEN = 0.5
"""Blue over green of H&E, where the slide shows too little of it."""

MAD_TO_DEVIATION = 1.4826

BARE_OD = 0.05
"""Less dense cells are glass."""

MIN_GLASS = 0.005
"""Share of glass from which the slide's light is known."""

MOST_INK = 0.5
"""Of a view without glass: where more has an ink's colour, that is the light's."""


class InkConfig(Config):
    """How pen marks are told from stained tissue; densities are optical ones."""

    window_um: float = Field(default=40.0, gt=0)
    """A stroke is at least as wide; nuclei, vessels and thin folds aren't."""
    min_density: float = Field(default=0.12, gt=0)
    """Fainter ink is left."""
    off_stain: float = Field(default=0.2, gt=0)
    """Least distance in blue over green from the slide's own stains that marks ink."""
    off_stain_beside: float = Field(default=0.1, gt=0)
    """The same beside what is surely ink."""
    reach_um: float = Field(default=500.0, gt=0)
    """So far from what is surely ink, a stroke is followed over darker tissue."""
    min_area_mm2: float = Field(default=0.03, gt=0)
    """Smaller spots are pigment or blood."""
    red: Coat = Coat(
        less_red=True, strength=1.6, min_green=0.35, red_green=(0, 0.45), blue_green=(0.52, 1)
    )
    """Red ink that absorbs less blue than green, as eosin does."""
    violet: Coat = Coat(
        less_red=False, strength=2.0, min_green=0.45, red_green=(0.55, 1.35), blue_green=(0, 0.45)
    )
    """Violet ink, which has hematoxylin's colour."""
    min_length: float = Field(default=3.0, ge=1)
    """Least length over width of red and violet strokes: rounder ones are blood or lymphocytes."""


def find_ink(od: Float32[Floats, "h w 3"], cell_um: float, config: InkConfig) -> Bool[Bools, "h w"]:
    """Find pen marks on an overview.

    Ink covers the gaps in tissue too. So in each channel the palest spot within `window_um` is
    taken (a grey opening), which shows the ink and little of the tissue beneath. Of stained tissue
    it shows a mixture of hematoxylin and eosin, in which blue over green depends on red over green
    along a line of the slide's own; the line is fitted. Ink lies off that line: blue and green
    inks absorb red more than green, red ink absorbs blue and hardly any red, black ink everything
    alike. Strokes are then followed over dark tissue with lower limits. Ink in the colour of a
    stain is told by its strength and, as blood is red too, by the shape of a stroke.

    A picture without any glass may have been taken in bluish or yellowish light. What has an ink's
    colour in most of such a view is no stroke.

    Args:
        od: optical density above that of the glass.
        cell_um: side of a cell.
        config: widths and limits.

    Source:
        Colour limits of inks in H&E: HistoQC's pen classifiers, Janowczyk et al. 2019, JCO Clin
        Cancer Inform 3:1-7, use trained pixel colours; opening and the slide's own line are ours.
    """
    cells = 2 * round(config.window_um / 2 / cell_um) + 1
    least = _opened(od, cells)
    red, green, blue = least[..., 0], least[..., 1], least[..., 2]
    low, high = extremes(least)
    base: Floats = np.maximum(green, 0.02).astype(np.float32)
    red_green, blue_green = red / base, blue / base
    stained = (
        (high > config.min_density)
        & (low < 0.8 * high)
        & (red_green > RED_GREEN[0])
        & (red_green < RED_GREEN[1])
        & (blue_green < BLUE_GREEN_MAX)
    )
    sure = stained & (red_green < 1.0)
    reddish = sure & (red_green < 0.3) & (blue_green > 0.7)
    if reddish.sum() < 0.5 * sure.sum():  # else that is how this slide is stained
        sure &= ~reddish
    off = blue_green - _own_line(red_green, blue_green, sure)
    limit = _upper_red_green(red_green, sure)
    dense = red > config.min_density
    seed = dense & (red_green > RED_GREEN[1])  # green and blue
    seed |= dense & (red_green > 1.0) & ((off < -0.1) | (off > config.off_stain))
    seed |= dense & (red_green > limit + 0.1)
    reds = (off > config.off_stain) & (green > 0.2) & (red_green < 0.4) & (blue_green > 0.6)
    seed |= long_parts(_without_threads(reds, cells), config.min_length)
    seed |= (off > config.off_stain) & (low > 0.15) & (low > 0.55 * high)  # black
    seed |= (low > 0.18) & (low > 0.8 * high)
    least_cells = config.min_area_mm2 * 1e6 / cell_um**2
    seed = without_small(_without_threads(seed, cells), least_cells)
    coats = np.zeros_like(seed)
    for coat in (config.red, config.violet):
        coats |= coated(least, stained, cells, coat, config.min_length, least_cells)
    if not seed.any():
        return coats
    weak = (np.abs(off) > config.off_stain_beside) | (red_green > limit)
    weak &= (high > 0.1) & near(seed, config.reach_um / cell_um)
    weak = _without_threads(closed(weak, config.window_um / 2 / cell_um), cells)
    ink = touching(weak | seed, seed, 0.2)
    if ink.mean() > MOST_INK and (extremes(od)[1] < BARE_OD).mean() < MIN_GLASS:
        return coats
    return ink | coats


def _opened(od: Float32[Floats, "h w 3"], cells: int) -> Float32[Floats, "h w 3"]:
    size = (cells, cells, 1)
    return cast(Floats, ndimage.maximum_filter(ndimage.minimum_filter(od, size), size))


def _own_line(
    red_green: Float32[Floats, "h w"],
    blue_green: Float32[Floats, "h w"],
    stained: Bool[Bools, "h w"],
) -> Float32[Floats, "h w"]:
    """Blue over green that this slide's stains have at each red over green, a trimmed fit."""
    if stained.sum() < FEW_CELLS:
        return np.full_like(red_green, USUAL_BLUE_GREEN)
    step = 1 + int(stained.sum()) // ENOUGH_CELLS
    x, y = red_green[stained][::step], blue_green[stained][::step]
    slope, height = 0.0, float(np.median(y))
    for _ in range(5):
        error = np.abs(y - (slope * x + height))
        near = error <= np.quantile(error, 0.8)
        if np.ptp(x[near]) < 0.1:
            slope = 0.0
        else:
            slope = float(np.clip(np.polyfit(x[near], y[near], 1)[0], -0.5, 0.5))
        height = float(np.median(y[near] - slope * x[near]))
    return np.float32(slope) * red_green + np.float32(height)


def _upper_red_green(red_green: Float32[Floats, "h w"], tissue: Bool[Bools, "h w"]) -> float:
    """The most red over green that the slide's hematoxylin reaches, away from ink."""
    if tissue.sum() < FEW_CELLS:
        return 0.9
    values = red_green[tissue][:: 1 + int(tissue.sum()) // ENOUGH_CELLS]
    middle = float(np.median(values))
    spread = float(np.median(np.abs(values - middle))) * MAD_TO_DEVIATION
    return float(np.clip(middle + 3 * spread, 0.9, 1.2))


def _without_threads(mask: Bool[Bools, "h w"], cells: int) -> Bool[Bools, "h w"]:
    return cast(Bools, ndimage.binary_opening(mask, iterations=max(1, cells // 2)))
