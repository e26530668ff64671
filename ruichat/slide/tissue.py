"""Where the tissue is: stained, and neither glass, pen, border nor dust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from pydantic import Field
from scipy import ndimage

from ruichat.config import Config
from ruichat.slide.arrays import Bools, Bytes, Floats, Ints
from ruichat.slide.geometry import cells_area_mm2
from ruichat.slide.stain import looks_like_he, looks_like_ink, optical_density

if TYPE_CHECKING:
    from ruichat.slide.slide import Slide

MIN_GLASS = 0.005
"""Share of pale, neutral pixels from which glass is taken to be in view."""

PLAUSIBLE_STAIN = 0.5
"""Share of tissue in H&E colours below which a slide counts as not H&E."""

UNIFORM_GLASS = 0.10
"""Share of pixels of one colour from which that colour is taken for falsely coloured glass."""


class TissueConfig(Config):
    """How tissue is told from glass."""

    mask_mpp: float = Field(default=8.0, gt=0)
    """Coarsest cell of the mask, micrometres; finer on small regions."""
    min_cells: int = Field(default=512, gt=0)
    """The mask's longer side has at least so many cells where the scan is fine enough."""
    smooth_um: float = Field(default=6.0, ge=0)
    """Standard deviation of the smoothing before thresholding, micrometres."""
    min_chroma: float = Field(default=0.035, gt=0)
    """Least difference of optical density between colour channels that can count as stained."""
    max_chroma: float = Field(default=0.08, gt=0)
    """Such a difference always counts, so that tissue filling the view isn't split in two."""
    ink_rim_um: float = Field(default=20.0, ge=0)
    """Width around pen strokes and black borders that isn't trusted, micrometres."""
    min_object_mm2: float = Field(default=0.01, ge=0)
    """Smaller specks are dust."""
    max_hole_mm2: float = Field(default=0.02, ge=0)
    """Smaller gaps (lumens, fat cells, alveoli) belong to the tissue."""


@dataclass(frozen=True)
class TissueMask:
    """Tissue of one slide on a coarse grid.

    Attributes:
        mask: True where there is tissue.
        downsample: level-0 pixels per cell of the mask.
        area_mm2: area of the True cells.
        he_share: share of the tissue that has colours of H&E, 0 to 1; 0 without tissue.
        stain_warning: what is wrong with the colours, or None.
    """

    mask: Bool[Bools, "h w"]
    downsample: float
    area_mm2: float
    he_share: float
    stain_warning: str | None


def find_tissue(slide: Slide, config: TissueConfig) -> TissueMask:
    """Find the tissue of a slide.

    Colour difference in optical density relative to the glass is smoothed and thresholded by
    Otsu's method within fixed limits: below the lower one there is only noise of glass, above the
    upper one everything is stained. Pens, black borders and grey shadows have other colours.

    Raises:
        InputError: the file is damaged.

    Source:
        Otsu 1979, IEEE Trans SMC 9:62-66; limits ours, from the slides at hand.
    """
    base = slide.mpp.value
    longest_um = max(slide.width0, slide.height0) * base
    cell_mpp = max(base, min(config.mask_mpp, longest_um / config.min_cells))
    rgb = slide.read(slide.bounds0, mpp=cell_mpp)
    od = relative_density(_smooth(rgb, config.smooth_um / cell_mpp))
    mask = _clean(_stained(od, config) & ~_ink(od, cell_mpp, config), cell_mpp, config)
    share = _he_share(od, mask)
    warning = None
    if mask.any() and share < PLAUSIBLE_STAIN:
        warning = stain_warning(share, rgb[mask])
        uniform = _unlike_commonest(od, config)
        mask = mask if uniform is None else _clean(uniform, cell_mpp, config)
    area = cells_area_mm2(int(mask.sum()), cell_mpp=cell_mpp)
    return TissueMask(mask, cell_mpp / base, area, share, warning)


def relative_density(rgb: UInt8[Bytes, "h w 3"]) -> Float32[Floats, "h w 3"]:
    """Optical density above that of the glass, which is estimated where it is in view."""
    od = optical_density(rgb)
    low, high = rgb.min(axis=-1), rgb.max(axis=-1)
    glass = (low >= 200) & (high - low <= 25)
    if glass.mean() < MIN_GLASS:
        return od
    return np.maximum(od - np.median(od[glass], axis=0), 0)


def stain_warning(he_share: float, rgb: UInt8[Bytes, "n 3"]) -> str:
    """What to tell the user about colours that aren't those of H&E."""
    text = f"stain is implausible for H&E: {he_share:.0%} of the tissue has its colours"
    chroma = rgb[:, 1:].astype(np.int16) - 128
    if np.median(np.abs(chroma)) < 16:
        text += "; the file's pixels look like YCbCr that is labelled as RGB"
    return text + ". Check the stain and the file's colours; answers may be wrong"


def otsu(values: Float32[Floats, " n"], *, num_bins: int = 256) -> float:
    """Threshold that best splits values into two groups (largest between-group variance)."""
    counts, edges = np.histogram(values, bins=num_bins)
    centres = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)
    total = np.cumsum(counts * centres)
    rest = weight[-1] - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = total / weight - (total[-1] - total) / rest
        between = np.nan_to_num(weight * rest * gap**2)
    return float(centres[between >= between.max() * (1 - 1e-9)].mean())


def _smooth(rgb: UInt8[Bytes, "h w 3"], sigma: float) -> UInt8[Bytes, "h w 3"]:
    if sigma < 0.3:
        return rgb
    return cast(Bytes, ndimage.gaussian_filter(rgb, sigma=(sigma, sigma, 0), truncate=2.5))


def _stained(od: Float32[Floats, "h w 3"], config: TissueConfig) -> Bool[Bools, "h w"]:
    chroma = od.max(axis=-1) - od.min(axis=-1)
    threshold = np.clip(otsu(chroma.ravel()), config.min_chroma, config.max_chroma)
    return chroma > threshold


def _ink(od: Float32[Floats, "h w 3"], cell_mpp: float, config: TissueConfig) -> Bool[Bools, "h w"]:
    """Strokes and borders with their pale rims; dark specks inside tissue are pigment or folds."""
    cell_mm2 = cells_area_mm2(1, cell_mpp=cell_mpp)
    strokes = _without_small(looks_like_ink(od), config.min_object_mm2 / cell_mm2)
    far = cast(Floats, ndimage.distance_transform_edt(~strokes))
    return strokes | (far * cell_mpp <= config.ink_rim_um) if strokes.any() else strokes


def _unlike_commonest(
    od: Float32[Floats, "h w 3"], config: TissueConfig
) -> Bool[Bools, "h w"] | None:
    """Where colour differs from a uniform coloured ground; None where there is none such.

    Glass that isn't white means that the colours are false; then it is the commonest colour.
    """
    levels = np.round(od * 20).astype(np.int64)
    codes = (levels * np.array([1, 64, 4096])).sum(axis=-1)
    values, counts = np.unique(codes, return_counts=True)
    if counts.max() < UNIFORM_GLASS * codes.size:
        return None
    ground = np.median(od[codes == values[counts.argmax()]], axis=0)
    if ground.max() - ground.min() < config.max_chroma:
        return None
    return np.abs(od - ground).max(axis=-1) > config.max_chroma


def _clean(mask: Bool[Bools, "h w"], cell_mpp: float, config: TissueConfig) -> Bool[Bools, "h w"]:
    cell_mm2 = cells_area_mm2(1, cell_mpp=cell_mpp)
    smallest = min(config.min_object_mm2 / cell_mm2, 0.02 * mask.size)
    mask = ~_without_small(~mask, config.max_hole_mm2 / cell_mm2)
    return _without_small(mask, smallest)


def _without_small(mask: Bool[Bools, "h w"], min_cells: float) -> Bool[Bools, "h w"]:
    labels, num = cast(tuple[Ints, int], ndimage.label(mask))
    if num == 0:
        return mask
    keep = np.bincount(labels.ravel()) >= min_cells
    keep[0] = False
    return keep[labels]


def _he_share(od: Float32[Floats, "h w 3"], mask: Bool[Bools, "h w"]) -> float:
    return float(looks_like_he(od[mask]).mean()) if mask.any() else 0.0
