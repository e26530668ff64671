"""Folds of the section: bands in which both stains are denser than on either side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Float32, Int64
from pydantic import Field
from scipy import ndimage

from ruichat.config import Config
from ruichat.slide.arrays import Bools, Floats, Ints
from ruichat.slide.ink import FEW_CELLS

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)

NUM_DIRECTIONS = 8
NUM_POINTS = 5
"""Points along a band at which it and its sides are looked at."""

FULL_STAIN = 0.9
"""Quantile of the tissue's cells that counts as one of either stain."""

HEMATOXYLIN_WEIGHT = 0.75
"""Hematoxylin varies more between tissues than eosin, so it counts less."""

FLOOR = 0.15
"""Added to both sides of a ratio, so that pale neighbours don't make everything a fold."""

MIN_TISSUE_BESIDE = 0.3
"""Share of either side that must be tissue: else the slide's own edge would be a fold's."""


class FoldConfig(Config):
    """How folds are told from dense tissue.

    Amounts are in units of what a tenth of the slide's tissue has more of.
    """

    widths_um: tuple[float, ...] = (48.0, 80.0)
    """Widths of the bands that are tried, micrometres."""
    gap_um: float = Field(default=32.0, ge=0)
    """Between the band and what it is compared with, micrometres."""
    length_um: float = Field(default=240.0, gt=0)
    """Length over which band and sides are averaged, micrometres."""
    seed_amount: float = Field(default=1.7, gt=0)
    """Eosin and weighted hematoxylin in what is surely folded."""
    seed_ratio: float = Field(default=1.35, gt=1)
    """How many times as dense that is as the denser side, in the stain that grows less."""
    amount: float = Field(default=1.3, gt=0)
    """The same where it goes on."""
    ratio: float = Field(default=1.1, gt=1)
    """The same where it goes on."""
    min_area_mm2: float = Field(default=0.004, ge=0)
    """Smaller bands are left."""
    min_length: float = Field(default=2.5, ge=1)
    """Least length over width: rounder dense spots are follicles or necrosis."""
    max_width_um: float = Field(default=200.0, gt=0)
    """Twice the largest distance of a fold's cell from its edge, micrometres."""


@dataclass(frozen=True)
class Stains:
    """Hematoxylin and eosin in units of the slide's own `FULL_STAIN` quantile."""

    hematoxylin: Float32[Floats, "h w"]
    eosin: Float32[Floats, "h w"]


def find_folds(
    od: Float32[Floats, "h w 3"], tissue: Bool[Bools, "h w"], cell_um: float, config: FoldConfig
) -> Bool[Bools, "h w"]:
    """Find folds on an overview.

    Where the section lies double, hematoxylin and eosin both are about twice as dense as beside
    it; dense tissue mostly has much of one and little of the other. So cells with much of both are
    taken, and kept where some direction shows a band in which the amount of each stain exceeds
    that on both sides. Connected bands must be long and thin.

    Args:
        od: optical density above that of the glass.
        tissue: where the tissue is.
        cell_um: side of a cell.
        config: widths and limits.

    Source:
        Folds as dark and saturated: Bautista and Yagi 2010, Anal Cell Pathol 33:129-138; relative
        to the slide's own tissue: Kothari et al. 2013, J Pathol Inform 4:22. Both stains at once,
        the comparison with both sides and the limits are ours, set on phantoms.
    """
    if tissue.sum() < FEW_CELLS:
        return np.zeros_like(tissue)
    stains = _own_stains(od, tissue)
    amount = stains.eosin + np.float32(HEMATOXYLIN_WEIGHT) * stains.hematoxylin
    dense = tissue & (amount > config.amount)
    ratio = np.zeros(tissue.shape, np.float32)
    at = np.argwhere(dense).astype(np.int64)
    ratio[dense] = _band_ratio(stains, tissue, at, cell_um, config)
    band = dense & (ratio > config.ratio)
    seed = band & (amount > config.seed_amount) & (ratio > config.seed_ratio)
    return _long_parts(band, seed, cell_um, config)


def _own_stains(od: Float32[Floats, "h w 3"], tissue: Bool[Bools, "h w"]) -> Stains:
    """Stains unmixed by the extremes of red over green that the slide's tissue shows."""
    red, green = od[..., 0], od[..., 1]
    coloured = tissue & (green > 0.15)
    low, high = 0.1, 0.9
    if coloured.sum() >= FEW_CELLS:
        ratios = red[coloured] / green[coloured]
        low = float(np.clip(np.quantile(ratios, 0.02), 0.05, 0.4))
        high = float(np.clip(np.quantile(ratios, 0.98), 0.5, 1.2))
    hematoxylin = (red - np.float32(low) * green) / np.float32(high - low)
    amounts = [np.maximum(hematoxylin, 0), np.maximum(green - hematoxylin, 0)]
    smooth = [cast(Floats, ndimage.gaussian_filter(x, 0.6)) for x in amounts]
    full = [max(float(np.quantile(x[tissue], FULL_STAIN)), 1e-3) for x in smooth]
    return Stains(*(x / np.float32(one) for x, one in zip(smooth, full, strict=True)))


def _band_ratio(
    stains: Stains,
    tissue: Bool[Bools, "h w"],
    at: Int64[Ints, "n 2"],
    cell_um: float,
    config: FoldConfig,
) -> Float32[Floats, " n"]:
    """How many times as dense each cell's band is as its denser side; the best band counts.

    Of the two stains the one that grows less counts, of the two sides the denser one.
    """
    best = np.zeros(len(at), np.float32)
    steps = np.linspace(-0.4, 0.4, NUM_POINTS) * config.length_um / cell_um
    for width in config.widths_um:
        size = max(1, round(width / cell_um))
        fields = [_box(x * tissue, size) for x in (stains.hematoxylin, stains.eosin)]
        covered = _box(tissue.astype(np.float32), size)
        away = (width + config.gap_um) / cell_um
        for turn in np.arange(NUM_DIRECTIONS) * np.pi / NUM_DIRECTIONS:
            along = np.outer(steps, [np.sin(turn), np.cos(turn)])
            aside = away * np.array([np.cos(turn), -np.sin(turn)])
            places = [_nearest(at, along + shift, tissue.shape) for shift in (0, aside, -aside)]
            beside = [covered[p].mean(axis=1) for p in places[1:]]
            ratio = np.full(len(at), np.inf, np.float32)
            for field in fields:
                middle, *sides = (field[p].mean(axis=1) for p in places)
                sides = [s / np.maximum(b, 0.25) for s, b in zip(sides, beside, strict=True)]
                ratio = np.minimum(ratio, (middle + FLOOR) / (np.maximum(*sides) + FLOOR))
            valid = np.minimum(*beside) > MIN_TISSUE_BESIDE
            best = np.maximum(best, np.where(valid, ratio, 0))
    return best.astype(np.float32)


def _box(field: Float32[Floats, "h w"], size: int) -> Float32[Floats, "h w"]:
    return cast(Floats, ndimage.uniform_filter(field, size, mode="constant"))


def _nearest(
    at: Int64[Ints, "n 2"], shifts: np.ndarray, shape: tuple[int, ...]
) -> tuple[Ints, Ints]:
    """Rows and columns, each [n, points], of the cells nearest to shifted ones."""
    moved = np.rint(at[:, None] + shifts).astype(np.int64)
    rows, columns = np.clip(moved[..., 0], 0, shape[0] - 1), moved[..., 1]
    return rows, np.clip(columns, 0, shape[1] - 1)


def _long_parts(
    band: Bool[Bools, "h w"], seed: Bool[Bools, "h w"], cell_um: float, config: FoldConfig
) -> Bool[Bools, "h w"]:
    """Connected bands with a sure cell that are long and thin enough.

    In a band of width w the mean distance to the edge is w / 4, which gives its width, and the
    area over that its length.
    """
    labels, num = cast(tuple[Ints, int], ndimage.label(band, EIGHT_NEIGHBOURS))
    depth = cast(Floats, ndimage.distance_transform_edt(np.pad(band, 1)))[1:-1, 1:-1]
    flat = labels.ravel()
    cells = np.bincount(flat, minlength=num + 1)
    mean = np.bincount(flat, depth.ravel(), minlength=num + 1) / np.maximum(cells, 1)
    deepest = np.zeros(num + 1)
    np.maximum.at(deepest, flat, depth.ravel())
    width = np.maximum(4 * mean - 1, 1)
    keep = np.bincount(labels[seed], minlength=num + 1) > 0
    keep &= cells * cell_um**2 >= config.min_area_mm2 * 1e6
    keep &= cells >= config.min_length * width**2
    keep &= 2 * deepest * cell_um <= config.max_width_um
    keep[0] = False
    return keep[labels]
