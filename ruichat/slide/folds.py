"""Folds of the section: bands denser than the tissue on either side, and rims that lie double."""

from __future__ import annotations

from typing import Final, cast

import numpy as np
from jaxtyping import Bool, Float32, Int64
from pydantic import Field
from scipy import ndimage

from ruichat.config import Config
from ruichat.slide.arrays import Bools, Floats, Ints
from ruichat.slide.coat import FEW_CELLS
from ruichat.slide.morphology import near
from ruichat.slide.own_stain import Stains, measured, own_stains

EIGHT_NEIGHBOURS: Final = np.ones((3, 3), bool)

NUM_DIRECTIONS: Final = 8
NUM_POINTS: Final = 5
"""Points along a band at which it and its sides are looked at."""

FLOOR: Final = 0.25
"""Of the slide's usual amount, added to both parts of a ratio, so that noise makes none."""

BARE: Final = 0.3
"""A side with a smaller share of tissue is beyond the tissue's rim."""

MOST_LOG_RATIO: Final = 2.0
"""Counts for a side without tissue, and at most."""

RIM_PENALTY: Final = 0.3
"""A band with tissue on both sides is preferred to one at the rim by so much of its score."""

CHUNK: Final = 100_000
"""Cells looked at together."""


class FoldWeights(Config):
    """How much each sign says for a fold, in logits per unit.

    Ours: logistic regression on cells of drawn slides (seeds 0 to 11, two sizes) and of tissue of
    five sources over which pleats of 35 to 140 um were laid, with the stain measured twice as in
    `find_folds`; two more sources were kept out of it to see that it carries over. "Usual" is the
    slide's median, "most" its upper decile, both off what looks like a fold.
    """

    bias: float = -13.71
    over_denser: float = 3.13
    """Log ratio of the band's density to that of its denser side."""
    over_paler: float = 2.36
    """Log ratio of the band's density to that of its paler side, at most `MOST_LOG_RATIO`."""
    at_rim: float = -3.53
    """One side isn't tissue."""
    band: float = 1.07
    """Density of the band over the usual one."""
    hematoxylin: float = -0.45
    """Hematoxylin of the cell over the usual amount."""
    eosin: float = -0.12
    """Eosin of the cell over the usual amount."""
    of_most: float = 8.44
    """Density of the cell over that of most."""
    eosin_of_most: float = 0.38
    """Eosin of the cell over that of most."""


class FoldConfig(Config):
    """How folds are told from dense tissue; logits are log odds by `FoldWeights`."""

    widths_um: tuple[float, ...] = (32.0, 64.0, 112.0)
    """Widths of the bands that are tried, micrometres."""
    side_um: float = Field(default=48.0, gt=0)
    """Width of what a band is compared with on either side, micrometres."""
    gap_um: float = Field(default=8.0, ge=0)
    """Between the band and its sides, micrometres."""
    length_um: float = Field(default=160.0, gt=0)
    """Length over which band and sides are averaged, micrometres."""
    around_um: float = Field(default=300.0, gt=0)
    """Width of the surroundings than which a cell must be denser to be looked at, micrometres."""
    min_excess: float = Field(default=1.1, ge=1)
    """How many times as dense it must be."""
    weights: FoldWeights = Field(default_factory=FoldWeights)
    suspect_logit: float = -2.5
    """From here on a cell may be folded and isn't measured for the slide's stain."""
    most_suspect: float = Field(default=0.35, ge=0, le=1)
    """Where more of the tissue would be left out, the first measure stands."""
    seed_logit: float = 1.0
    """From here on a cell is surely folded."""
    logit: float = -0.75
    """From here on it is folded where it hangs on to what surely is."""
    min_seed_share: float = Field(default=0.25, ge=0, le=1)
    """Share of a fold that must surely be one."""
    min_area_mm2: float = Field(default=0.005, ge=0)
    """Smaller bands are left."""
    min_length: float = Field(default=2.0, ge=1)
    """Least length over width: rounder dense spots are follicles or necrosis."""
    max_width_um: float = Field(default=260.0, gt=0)
    """Wider bands are dense tissue, micrometres."""


def find_folds(
    od: Float32[Floats, "h w 3"], tissue: Bool[Bools, "h w"], cell_um: float, config: FoldConfig
) -> Bool[Bools, "h w"]:
    """Find folds on an overview.

    Where the section lies double or threefold its optical density is two or three times that of
    the tissue beside it, or, where a rim is turned over, of the tissue on its inner side. Each
    cell that is denser than its surroundings is compared with both sides along the band of the
    width and direction that suit it best, and with the slide's own tissue. Likely cells that hang
    together make a fold if enough of them are sure and they are long and thin.

    Args:
        od: optical density above that of the glass.
        tissue: where the tissue is.
        cell_um: side of a cell.
        config: widths and limits.

    Source:
        Folds as dark and saturated: Bautista and Yagi 2010, J Pathol Inform 1:25; two thresholds
        relative to the slide's own tissue: Kothari et al. 2013, J Pathol Inform 4:22. The
        comparison with both sides and the weights are ours, fitted as `FoldWeights` says.
    """
    if tissue.sum() < FEW_CELLS:
        return np.zeros_like(tissue)
    stains = own_stains(od, tissue)
    density = stains.amounts[0] + stains.amounts[1]
    size = 2 * int(config.around_um / cell_um / 2) + 1
    around = _box(density * tissue, size) / np.maximum(_box(tissue, size), 0.1)
    dense = tissue & (density > config.min_excess * around)
    at = np.argwhere(dense).astype(np.int64)
    weights = np.array(list(config.weights.model_dump().values()), np.float32)
    found = signs(stains, tissue, at, cell_um, config)
    logits = _on_cells(found @ weights, at, tissue)
    maybe = logits > config.suspect_logit
    suspect = tissue & near(_long_parts(maybe, maybe, cell_um, config), 1.0)
    if 0 < suspect.sum() <= config.most_suspect * tissue.sum():
        found *= _per_other(stains, measured(stains.amounts, tissue & ~suspect))
        logits = _on_cells(found @ weights, at, tissue)
    return _long_parts(logits > config.logit, logits > config.seed_logit, cell_um, config)


def _on_cells(
    logits: Float32[Floats, " n"], at: Int64[Ints, "n 2"], tissue: Bool[Bools, "h w"]
) -> Float32[Floats, "h w"]:
    """Logits laid on the grid, where there is none minus infinity."""
    field = np.full(tissue.shape, -np.inf, np.float32)
    field[tuple(at.T)] = logits
    return field


def _per_other(before: Stains, after: Stains) -> Float32[Floats, " 9"]:
    """Factors that give `signs` relative to another measure of the slide's stain."""
    factors = np.ones(9, np.float32)
    for sign, which in ((4, 2), (5, 0), (6, 1)):
        factors[sign] = before.usual[which] / after.usual[which]
    for sign, which in ((7, 2), (8, 1)):
        factors[sign] = before.most[which] / after.most[which]
    return factors


def signs(
    stains: Stains,
    tissue: Bool[Bools, "h w"],
    at: Int64[Ints, "n 2"],
    cell_um: float,
    config: FoldConfig,
) -> Float32[Floats, "n 9"]:
    """What speaks for a fold at each of some cells, in the order of the fields of `FoldWeights`."""
    found = np.zeros((len(at), 9), np.float32)
    found[:, 0] = 1
    here = tuple(at.T)
    amounts = [amount[here] for amount in stains.amounts]
    found[:, 5], found[:, 6] = (x / one for x, one in zip(amounts, stains.usual, strict=False))
    found[:, 7] = (amounts[0] + amounts[1]) / stains.most[2]
    found[:, 8] = amounts[1] / stains.most[1]
    best = np.full(len(at), -np.inf, np.float32)
    for width_um in config.widths_um:
        compare = _Comparison(stains, tissue, width_um, cell_um, config)
        for first in range(0, len(at), CHUNK):
            some = slice(first, first + CHUNK)
            for turn in np.arange(NUM_DIRECTIONS) * np.pi / NUM_DIRECTIONS:
                score, band = compare.at(at[some], turn)
                better = score > best[some]
                best[some][better] = score[better]
                found[some, 1:5][better] = band[better]
    return found


class _Comparison:
    """Compares bands of one width with what lies on their sides."""

    def __init__(
        self,
        stains: Stains,
        tissue: Bool[Bools, "h w"],
        width_um: float,
        cell_um: float,
        config: FoldConfig,
    ) -> None:
        self._usual = stains.usual
        self._shape = tissue.shape
        self._away = (width_um / 2 + config.gap_um + config.side_um / 2) / cell_um
        self._steps = np.linspace(-0.5, 0.5, NUM_POINTS) * config.length_um / cell_um
        inside = [amount * tissue for amount in stains.amounts]
        band, side = max(1, round(width_um / cell_um)), max(2, round(config.side_um / cell_um))
        self._bands = [_box(field, band).ravel() for field in (tissue, *inside)]
        self._sides = [_box(field, side).ravel() for field in (tissue, *inside)]

    def at(
        self, cells: Int64[Ints, "n 2"], turn: float
    ) -> tuple[Float32[Floats, " n"], Float32[Floats, "n 4"]]:
        """How well a band in that direction suits each cell, and what it says for a fold.

        The second holds logarithms of the ratios to the denser and the paler side, whether one
        side is beyond the rim, and the band's density over the usual one.
        """
        aside = self._away * np.array([np.cos(turn), -np.sin(turn)])
        band = self._means(self._bands, cells, turn, np.zeros(2))
        sides = [self._means(self._sides, cells, turn, shift) for shift in (aside, -aside)]
        bare = [side[0] < BARE for side in sides]
        ratios: list[list[Floats]] = []  # for hematoxylin, eosin and both, for either side
        for k, usual in enumerate(self._usual):
            floor = np.float32(FLOOR * usual)
            both = [
                np.log((_amount(band, k) + floor) / (_amount(side, k) + floor)) for side in sides
            ]
            ratios.append([np.where(b, np.inf, x) for b, x in zip(bare, both, strict=True)])
        least = [np.minimum(*pair) for pair in ratios]
        lone = bare[0] & bare[1]
        rim = (bare[0] | bare[1]).astype(np.float32)
        over = np.where(lone, 0, least[2]).astype(np.float32)
        score = over + np.minimum(np.minimum(*least[:2]), over) - np.float32(RIM_PENALTY) * rim
        paler = np.minimum(np.maximum(*ratios[2]), MOST_LOG_RATIO)
        said = np.stack([over, paler, rim, _amount(band, 2) / self._usual[2]], axis=1)
        return np.where(lone, -np.inf, score).astype(np.float32), said.astype(np.float32)

    def _means(
        self, fields: list[Floats], cells: Int64[Ints, "n 2"], turn: float, shift: np.ndarray
    ) -> list[Floats]:
        """Mean of each field along the band's direction, through cells that are shifted."""
        along = np.outer(self._steps, [np.sin(turn), np.cos(turn)]) + shift
        moved = cells[:, None] + np.rint(along).astype(np.int64)
        rows = np.clip(moved[..., 0], 0, self._shape[0] - 1)
        columns = np.clip(moved[..., 1], 0, self._shape[1] - 1)
        index = rows * self._shape[1] + columns
        return [field[index].mean(axis=1) for field in fields]


def _amount(means: list[Floats], which: int) -> Floats:
    """Hematoxylin (0), eosin (1) or both (2) per share of tissue."""
    covered = np.maximum(means[0], np.float32(BARE))
    amount = means[1] + means[2] if which == 2 else means[1 + which]
    return (amount / covered).astype(np.float32)


def _box(field: Float32[Floats, "h w"] | Bool[Bools, "h w"], size: int) -> Float32[Floats, "h w"]:
    return cast(Floats, ndimage.uniform_filter(field.astype(np.float32), size, mode="constant"))


def _long_parts(
    band: Bool[Bools, "h w"], sure: Bool[Bools, "h w"], cell_um: float, config: FoldConfig
) -> Bool[Bools, "h w"]:
    """Connected likely cells with enough sure ones that are long and thin enough.

    In a band of width w the mean distance to the edge is w / 4, which gives its width, and the
    area over that its length.
    """
    labels, num = cast(tuple[Ints, int], ndimage.label(band, EIGHT_NEIGHBOURS))
    depth = cast(Floats, ndimage.distance_transform_edt(np.pad(band, 1)))[1:-1, 1:-1]
    flat = labels.ravel()
    cells = np.bincount(flat, minlength=num + 1)
    mean = np.bincount(flat, depth.ravel(), minlength=num + 1) / np.maximum(cells, 1)
    width = np.maximum(4 * mean - 1, 1)
    seeds = np.bincount(labels[sure], minlength=num + 1)
    keep = (seeds > 0) & (seeds >= config.min_seed_share * cells)
    keep &= cells * cell_um**2 >= config.min_area_mm2 * 1e6
    keep &= cells >= config.min_length * width**2
    keep &= width * cell_um <= config.max_width_um
    keep[0] = False
    return keep[labels]
