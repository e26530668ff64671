"""Where the tissue is: stained, and neither glass, pen, border nor dust."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from pydantic import Field
from scipy import ndimage

from ruichat.config import Config
from ruichat.slide.arrays import Bools, Bytes, Floats
from ruichat.slide.geometry import cells_area_mm2
from ruichat.slide.morphology import closed, near, touching, without_holes, without_small
from ruichat.slide.stain import extremes, looks_like_he, looks_like_ink, optical_density

if TYPE_CHECKING:
    from ruichat.slide.slide import Slide

MIN_GLASS = 0.005
"""Share of pale, neutral pixels from which glass is taken to be in view."""

PLAUSIBLE_STAIN = 0.5
"""Share of tissue in H&E colours below which a slide counts as not H&E."""

UNIFORM_GLASS = 0.10
"""Share of pixels of one colour from which that colour is taken for falsely coloured glass."""

MIN_SPECK_MM2 = 1.5e-4
"""Smaller pale specks are noise."""

HALO_UM = 12.0
"""Width around solid tissue where smoothing and JPEG's coarse colour make glass look pale."""

GREY = 0.2
"""Difference between channels over the density of the darkest below which a colour is grey."""

MAD_TO_DEVIATION: Final = 1.4826
"""Median absolute deviation to standard deviation, for normal noise."""


class TissueConfig(Config):
    """How tissue is told from glass."""

    mask_mpp: float = Field(default=8.0, gt=0)
    """Coarsest cell of the mask, micrometres; finer on small regions."""
    min_cells: int = Field(default=512, gt=0)
    """The mask's longer side has at least so many cells where the scan is fine enough."""
    smooth_um: float = Field(default=6.0, ge=0)
    """Standard deviation of the smoothing that finds solid tissue, micrometres."""
    fine_smooth_um: float = Field(default=2.5, ge=0)
    """The same for pale and thin tissue (fat, mucus) that hangs on to solid tissue."""
    bridge_um: float = Field(default=12.0, ge=0)
    """Thin tissue closer together than twice this is one piece: broken rims of fat cells."""
    min_chroma: float = Field(default=0.035, gt=0)
    """Least difference of optical density between colour channels that can count as stained."""
    min_pale_chroma: float = Field(default=0.018, gt=0)
    """The same for pale tissue, or five deviations of the glass, whichever is more."""
    max_chroma: float = Field(default=0.08, gt=0)
    """Such a difference always counts, so that tissue filling the view isn't split in two."""
    ink_rim_um: float = Field(default=20.0, ge=0)
    """Width around pen strokes and black borders that isn't trusted, micrometres."""
    min_object_mm2: float = Field(default=0.01, ge=0)
    """Smaller specks are dust."""
    min_solid_share: float = Field(default=0.02, ge=0, le=1)
    """Share of a pale piece that must be solid tissue: stains on the glass have none."""
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

    Solid tissue: the difference between colour channels in optical density relative to the glass
    is smoothed and thresholded by Otsu's method within fixed limits: below the lower one there is
    only noise of glass, above the upper one everything is stained. Pale and thin tissue that hangs
    on to it is added at a threshold just above the noise of the glass. Pens, black borders and
    grey shadows have other colours.

    Raises:
        InputError: the file is damaged.

    Source:
        Otsu 1979, IEEE Trans SMC 9:62-66; limits ours, from the slides at hand and phantoms.
    """
    base = slide.mpp.value
    longest_um = max(slide.width0, slide.height0) * base
    cell_mpp = max(base, min(config.mask_mpp, longest_um / config.min_cells))
    rgb = slide.read(slide.bounds0, mpp=cell_mpp)
    finder = _Finder(rgb, cell_mpp, config)
    mask = finder.stained()
    share = finder.he_share(mask)
    warning = None
    if mask.any() and share < PLAUSIBLE_STAIN:
        warning = stain_warning(share, rgb[mask])
        mask = finder.on_false_glass() if finder.has_false_glass else mask
    area = cells_area_mm2(int(mask.sum()), cell_mpp=cell_mpp)
    return TissueMask(mask, cell_mpp / base, area, share, warning)


class _Finder:
    """One overview with the masks that can be made from it."""

    def __init__(self, rgb: UInt8[Bytes, "h w 3"], cell_mpp: float, config: TissueConfig) -> None:
        self._config, self._cell_mpp = config, cell_mpp
        self._cell_mm2 = cells_area_mm2(1, cell_mpp=cell_mpp)
        self._fine = relative_density(_smooth(rgb, config.fine_smooth_um / cell_mpp))
        self._od = relative_density(_smooth(rgb, config.smooth_um / cell_mpp))

    def stained(self) -> Bool[Bools, "h w"]:
        """Solid tissue and the pale tissue on it."""
        config = self._config
        ink = self._ink()
        chroma = _chroma(self._od)
        least = np.clip(otsu(chroma.ravel()), config.min_chroma, config.max_chroma)
        solid = self._clean((chroma > least) & ~ink)
        if not solid.any():
            return solid
        return self._clean(solid | (self._pale_parts(solid, ink) & ~ink))

    def _pale_parts(self, solid: Bool[Bools, "h w"], ink: Bool[Bools, "h w"]) -> Bool[Bools, "h w"]:
        """Pale tissue joined to solid tissue, without the halo that blurs around the latter."""
        config, cell = self._config, self._cell_mpp
        pale = without_small(self._pale() & ~ink, MIN_SPECK_MM2 / self._cell_mm2)
        whole = closed(pale | solid, config.bridge_um / cell)
        whole = touching(whole, solid, config.min_solid_share)
        beyond = whole & ~near(solid, HALO_UM / cell)
        beyond = without_small(beyond, config.min_object_mm2 / self._cell_mm2)
        return whole & near(beyond, HALO_UM / cell)

    def he_share(self, mask: Bool[Bools, "h w"]) -> float:
        """Share of the mask in colours of H&E, counting each cell by how strongly it is stained."""
        od = self._od[mask]
        weight = _chroma(od)
        total = float(weight.sum())
        return float((looks_like_he(od) * weight).sum()) / total if total > 0 else 0.0

    @cached_property
    def _false_glass(self) -> Float32[Floats, " 3"] | None:
        levels = np.round(self._od * 20).astype(np.int64)
        codes = (levels * np.array([1, 64, 4096])).sum(axis=-1)
        values, counts = np.unique(codes, return_counts=True)
        if counts.max() < UNIFORM_GLASS * codes.size:
            return None
        ground = np.median(self._od[codes == values[counts.argmax()]], axis=0)
        return ground if np.ptp(ground) >= self._config.max_chroma else None

    @property
    def has_false_glass(self) -> bool:
        """Whether one colour that isn't white covers much: glass, where colours are false."""
        return self._false_glass is not None

    def on_false_glass(self) -> Bool[Bools, "h w"]:
        """Where colour differs from that of the falsely coloured glass."""
        ground = self._false_glass
        assert ground is not None
        return self._clean(extremes(np.abs(self._od - ground))[1] > self._config.max_chroma)

    def _pale(self) -> Bool[Bools, "h w"]:
        """Faintly stained; grey dirt and shadows are as dark but have less colour."""
        chroma = _chroma(self._fine)
        least = self._pale_threshold(chroma)
        return (chroma > least) & (chroma > GREY * extremes(self._fine)[1])

    def _pale_threshold(self, chroma: Float32[Floats, "h w"]) -> float:
        """Just above the noise of the glass, as far as glass is in view."""
        noise = chroma[chroma < self._config.min_chroma]
        if len(noise) < MIN_GLASS * chroma.size:
            return self._config.min_chroma
        middle = float(np.median(noise))
        spread = float(np.median(np.abs(noise - middle))) * MAD_TO_DEVIATION
        wanted = max(self._config.min_pale_chroma, middle + 5 * spread)
        return min(wanted, self._config.min_chroma)

    def _ink(self) -> Bool[Bools, "h w"]:
        """Strokes and borders with their pale rims; dark specks in tissue are pigment or folds."""
        strokes = without_small(
            looks_like_ink(self._od), self._config.min_object_mm2 / self._cell_mm2
        )
        return near(strokes, self._config.ink_rim_um / self._cell_mpp)

    def _clean(self, mask: Bool[Bools, "h w"]) -> Bool[Bools, "h w"]:
        filled = without_holes(mask, self._config.max_hole_mm2 / self._cell_mm2)
        least = min(self._config.min_object_mm2 / self._cell_mm2, 0.02 * mask.size)
        return without_small(filled, least)


def _chroma(od: Float32[Floats, "*s 3"]) -> Float32[Floats, "*s"]:
    low, high = extremes(od)
    return high - low


def relative_density(rgb: UInt8[Bytes, "h w 3"]) -> Float32[Floats, "h w 3"]:
    """Optical density above that of the glass, which is estimated where it is in view."""
    od = optical_density(rgb)
    low, high = extremes(rgb)
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
