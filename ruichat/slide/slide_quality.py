"""What is wrong on a slide: each fault a number, and a mask on one grid for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32
from pydantic import Field

from ruichat.config import Config
from ruichat.slide.arrays import Bools, Floats
from ruichat.slide.bubbles import BubbleConfig, find_bubbles
from ruichat.slide.focus import FocusConfig, FocusMap, measure_focus
from ruichat.slide.folds import FoldConfig, find_folds
from ruichat.slide.geometry import cells_area_mm2
from ruichat.slide.ink import InkConfig, find_ink
from ruichat.slide.morphology import closed, touching, without_small
from ruichat.slide.resample import resample
from ruichat.slide.stain import extremes, looks_like_he, unmixing_matrix
from ruichat.slide.tissue import relative_density

if TYPE_CHECKING:
    from ruichat.slide.slide import Slide
    from ruichat.slide.tissue import TissueMask

Fault = Literal["blur", "pen", "fold", "bubble", "border", "odd_stain"]
FAULTS: tuple[Fault, ...] = get_args(Fault)

HIDING: frozenset[Fault] = frozenset({"pen", "border"})
"""These hide tissue, so that the tissue mask leaves out what lies beneath."""

JUDGED_BY_COLOR: frozenset[Fault] = frozenset({"pen", "fold"})
"""These are told from H&E by their colour, so of other stains nothing can be said."""

BARE_OD = 0.05
"""Less dense cells have no colour to speak of."""

BLACK_OD = 1.0
"""Optical density in every channel of what the scanner didn't see; black pens reach 0.9."""


class QualityConfig(Config):
    """How faults are found."""

    cell_um: float = Field(default=16.0, gt=0)
    """Side of a cell of the masks, micrometres."""
    focus: FocusConfig = Field(default_factory=FocusConfig)
    ink: InkConfig = Field(default_factory=InkConfig)
    folds: FoldConfig = Field(default_factory=FoldConfig)
    bubbles: BubbleConfig = Field(default_factory=BubbleConfig)
    min_border_mm2: float = Field(default=0.01, ge=0)
    """Smaller black pieces at the slide's edge are dirt."""
    beneath_um: float = Field(default=300.0, ge=0)
    """Pen within so much of tissue on both sides is taken to hide tissue."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault on a slide.

    Attributes:
        fault: what it is.
        mask: True where it lies.
        area_mm2: area of the True cells.
        share: of the tissue, what hides tissue included, 0 to 1; NaN where it can't be told.
    """

    fault: Fault
    mask: Bool[Bools, "h w"]
    area_mm2: float
    share: float


@dataclass(frozen=True)
class SlideQuality:
    """Faults of one slide.

    Attributes:
        tissue: the tissue on the grid of the masks.
        downsample: level-0 pixels per cell of all masks.
        findings: one for each fault, in the order of `FAULTS`, empty ones too.
        blur_um: blur of the middle of the tissue, standard deviation in micrometres; NaN where
            there was nothing to focus on.
        focus_measured: share of the tissue on which focus was measured.
        he_share: share of the tissue that has colours of H&E.
        stain_od: mean optical density of hematoxylin and eosin together.
        hematoxylin_share: hematoxylin's part of that.
    """

    tissue: Bool[Bools, "h w"]
    downsample: float
    findings: tuple[Finding, ...]
    blur_um: float
    focus_measured: float
    he_share: float
    stain_od: float
    hematoxylin_share: float

    def finding(self, fault: Fault) -> Finding:
        """The finding of that kind."""
        return self.findings[FAULTS.index(fault)]


def inspect_slide(slide: Slide, tissue: TissueMask, config: QualityConfig) -> SlideQuality:
    """Look for faults on a slide.

    Bubbles are looked for on an overview at `config.bubbles.mpp`, other things on the same at
    `config.cell_um`, focus where the tissue is at `config.focus.mpp`, square by square. Both reads
    take the pyramid's level that serves. Memory grows with the slide's area, by about 60 bytes for
    each cell of the masks.

    What is told by its colour isn't looked for on slides whose colours aren't H&E's.

    Raises:
        InputError: the file is damaged.
    """
    fine = slide.read(slide.bounds0, mpp=config.bubbles.mpp)
    factor = config.bubbles.mpp / config.cell_um
    height, width = (max(1, round(n * factor)) for n in fine.shape[:2])
    od = relative_density(resample(fine, width, height))
    cell_mpp = slide.width0 * slide.mpp.value / width
    downsample = cell_mpp / slide.mpp.value
    solid = _on_grid(tissue.mask, height, width)
    near = _on_grid(tissue.mask, *fine.shape[:2])
    bubbles = _on_grid(find_bubbles(fine, near, config.bubbles), height, width)
    focus = measure_focus(slide, tissue.mask, tissue.downsample, config.focus)
    nothing = np.zeros_like(solid)
    ink = nothing if tissue.stain_warning else find_ink(od, cell_mpp, config.ink)
    border = _black_at_edge(od, config.min_border_mm2 / cells_area_mm2(1, cell_mpp=cell_mpp))
    seen = solid & ~ink & ~border
    folds = nothing if tissue.stain_warning else find_folds(od, seen, cell_mpp, config.folds)
    masks: dict[Fault, Bools] = {
        "blur": _blurred(focus, config.focus.max_blur_um, seen, downsample),
        "pen": ink & ~border,
        "fold": folds,
        "bubble": bubbles,
        "border": border,
        "odd_stain": seen & ~looks_like_he(od) & (extremes(od)[1] > BARE_OD),
    }
    beneath = closed(solid, config.beneath_um / cell_mpp) if ink.any() else solid
    findings = tuple(
        Finding(fault, masks[fault], 0.0, float("nan"))
        if tissue.stain_warning and fault in JUDGED_BY_COLOR
        else _finding(fault, masks[fault], solid, beneath, cell_mpp)
        for fault in FAULTS
    )
    total, hematoxylin_share = _stain_of(od[seen])
    return SlideQuality(
        tissue=solid,
        downsample=downsample,
        findings=findings,
        blur_um=focus.median_um,
        focus_measured=focus.measured,
        he_share=tissue.he_share,
        stain_od=total,
        hematoxylin_share=hematoxylin_share,
    )


def _finding(
    fault: Fault,
    mask: Bool[Bools, "h w"],
    tissue: Bool[Bools, "h w"],
    beneath: Bool[Bools, "h w"],
    cell_mpp: float,
) -> Finding:
    hurt = mask & (beneath if fault in HIDING else tissue)
    whole = int((tissue | hurt).sum())
    area = cells_area_mm2(int(mask.sum()), cell_mpp=cell_mpp)
    return Finding(fault, mask, area, float(hurt.sum()) / whole if whole else 0.0)


def _on_grid(mask: Bool[Bools, "a b"], height: int, width: int) -> Bool[Bools, "h w"]:
    """The mask on another grid: True where at least half of a cell is."""
    from PIL import Image

    grey = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX)) >= 128


def _blurred(
    focus: FocusMap, max_blur_um: float, tissue: Bool[Bools, "h w"], downsample: float
) -> Bool[Bools, "h w"]:
    """Tissue cells in blocks that are blurred; what was not measured isn't."""
    blocks = np.nan_to_num(focus.blur_um, nan=0.0) > max_blur_um
    rows, columns = (
        np.minimum((np.arange(n) + 0.5) * downsample // focus.block0, limit - 1).astype(np.int64)
        for n, limit in zip(tissue.shape, blocks.shape, strict=True)
    )
    return blocks[np.ix_(rows, columns)] & tissue


def _black_at_edge(od: Float32[Floats, "h w 3"], min_cells: float) -> Bool[Bools, "h w"]:
    """Black pieces that reach the slide's edge: no glass was scanned there."""
    black = without_small(extremes(od)[0] > BLACK_OD, min_cells)
    edge = np.ones_like(black)
    edge[1:-1, 1:-1] = False
    return touching(black, black & edge, 0.0)


def _stain_of(od: Float32[Floats, "n 3"]) -> tuple[float, float]:
    """Mean density of both stains together, and hematoxylin's share; zeros without tissue."""
    if len(od) == 0:
        return 0.0, 0.0
    amounts = np.maximum(od @ unmixing_matrix()[:, :2], 0).mean(axis=0)
    total = float(amounts.sum())
    return total, float(amounts[0]) / total if total > 0 else 0.0
