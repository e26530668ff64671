"""Air bubbles under the cover glass: dark, colourless, nearly round rims."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from pydantic import Field
from scipy import ndimage

from ruichat.config import Config
from ruichat.slide.arrays import Bools, Bytes, Floats
from ruichat.slide.stain import optical_density

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_CELLS = 1024
"""Side of the blocks in which bubbles are looked for, without their overlap."""

STRONG_RIM = 0.07
"""Curvature of optical density from which a rim counts fully."""

STEP = 1.07
"""Factor between radii that are tried."""

MIN_VOTES = 0.5
"""Share of a circle's cells that must vote for its centre before it is looked at closely."""

MOST_CIRCLES = 300
"""Circles looked at closely in one block."""

NEARER_GAINS = 0.25
"""More than the second, finer search for an ellipse adds to the share of its rim that is seen."""

NUM_ANGLES = 48
"""Directions in which a rim is looked for."""

OUTER = 1.1
"""The rim's dark band reaches so much further than its darkest line."""


class BubbleConfig(Config):
    """How bubbles are told from tissue."""

    mpp: float = Field(default=8.0, gt=0)
    """Resolution at which rims are looked for, micrometres per pixel."""
    min_radius_um: float = Field(default=64.0, gt=0)
    """Smaller rings are mostly glands and vessels."""
    max_radius_um: float = Field(default=330.0, gt=0)
    """Larger bubbles aren't looked for."""
    min_rim: float = Field(default=0.03, gt=0)
    """Least curvature of optical density across the rim, in every channel, per cell squared."""
    min_round: float = Field(default=0.78, gt=0, le=1)
    """Share of directions in which the rim must be seen where a circle or ellipse has it."""


@dataclass(frozen=True)
class Rims:
    """Dark colourless lines of one block.

    Attributes:
        strength: curvature of optical density across the line, least of three channels.
        across_x: direction across the line, unit vector.
        across_y: the same.
    """

    strength: Float32[Floats, "h w"]
    across_x: Float32[Floats, "h w"]
    across_y: Float32[Floats, "h w"]


@dataclass(frozen=True, slots=True)
class Ring:
    """An upright ellipse: centre, half width, and half height over half width."""

    x: float
    y: float
    radius: float
    squeeze: float


def find_bubbles(
    rgb: UInt8[Bytes, "h w 3"], near: Bool[Bools, "h w"], config: BubbleConfig
) -> Bool[Bools, "h w"]:
    """Find bubbles on and around the tissue.

    Refraction takes light of every colour away from a bubble's rim, while stained tissue differs
    between channels: so rims are ridges of optical density in all three. Each cell of a rim votes
    for the centres of circles that it can lie on (Hough). Where many meet, a circle or an ellipse
    of axes within a tenth is fitted, and the share of directions in which it meets a rim that runs
    along it decides. This is done block by block, blocks overlap by more than a bubble.

    Args:
        rgb: the slide at `config.mpp`.
        near: where the tissue is; blocks without any are left.
        config: sizes and limits.

    Source:
        Hough circles from gradient directions: Kimme, Ballard and Sklansky 1975, Comm ACM
        18:120-122. Ridges in all channels and the limits are ours, set on phantoms.
    """
    height, width = rgb.shape[:2]
    found = np.zeros((height, width), bool)
    margin = round(2 * config.max_radius_um / config.mpp)
    for y in range(0, height, BLOCK_CELLS):
        for x in range(0, width, BLOCK_CELLS):
            if not near[y : y + BLOCK_CELLS, x : x + BLOCK_CELLS].any():
                continue
            top, left = max(0, y - margin), max(0, x - margin)
            block = rgb[top : y + BLOCK_CELLS + margin, left : x + BLOCK_CELLS + margin]
            for ring in find_rings(optical_density(block), config):
                _paint(found, ring, left, top)
    return found


def find_rings(od: Float32[Floats, "h w 3"], config: BubbleConfig) -> list[Ring]:
    """Rings of dark colourless lines, in cells of `od`."""
    rims = _rims(od)
    rings: list[Ring] = []
    for ring in _circles(rims, config):
        if any(np.hypot(ring.x - r.x, ring.y - r.y) < 0.6 * r.radius for r in rings):
            continue
        fitted, seen = _fit(rims, ring, config)
        if seen >= config.min_round:
            rings.append(fitted)
    return rings


def _rims(od: Float32[Floats, "h w 3"]) -> Rims:
    """Curvature of each channel in the direction in which their mean curves most."""
    second = np.zeros((3, 3, *od.shape[:2]), np.float32)
    for channel in range(3):
        smooth = cast(Floats, ndimage.gaussian_filter(od[..., channel], 1.0))
        around = np.pad(smooth, 1, mode="edge")
        second[channel, 0] = around[2:, 1:-1] + around[:-2, 1:-1] - 2 * smooth
        second[channel, 1] = around[1:-1, 2:] + around[1:-1, :-2] - 2 * smooth
        second[channel, 2] = around[2:, 2:] + around[:-2, :-2] - around[2:, :-2] - around[:-2, 2:]
    second[:, 2] /= 4
    yy, xx, xy = second.mean(axis=0)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.float32(np.pi / 2)
    x, y = np.cos(angle), np.sin(angle)
    across = -(second[:, 0] * y * y + second[:, 1] * x * x + 2 * second[:, 2] * x * y)
    return Rims(np.maximum(across.min(axis=0), 0), x, y)


def _circles(rims: Rims, config: BubbleConfig) -> list[Ring]:
    """Circles with many votes, best first; votes are counted on every second cell."""
    y, x = np.nonzero(rims.strength > config.min_rim)
    weight = np.minimum(rims.strength[y, x] / STRONG_RIM, 1)
    across_x, across_y = rims.across_x[y, x], rims.across_y[y, x]
    height, width = (n // 2 + 1 for n in rims.strength.shape)
    best: list[tuple[float, Ring]] = []
    radius, last = config.min_radius_um / config.mpp, config.max_radius_um / config.mpp
    while radius <= last:
        votes = np.zeros(height * width)
        for side in (-radius, radius):
            cx = np.rint((x + side * across_x) / 2).astype(np.int64)
            cy = np.rint((y + side * across_y) / 2).astype(np.int64)
            inside = (cx >= 0) & (cy >= 0) & (cx < width) & (cy < height)
            index = cy[inside] * width + cx[inside]
            votes += np.bincount(index, weight[inside], minlength=height * width)
        window = 3 if radius < 15 else 5
        share = cast(Floats, ndimage.uniform_filter(votes.reshape(height, width), window))
        share *= window**2 / (2 * np.pi * radius)
        peak = share > MIN_VOTES
        if peak.any():
            peak &= share == ndimage.maximum_filter(share, 5)
        for row, column in np.argwhere(peak).tolist():
            best.append((float(share[row, column]), Ring(2 * column, 2 * row, radius, 1.0)))
        radius *= STEP
    best.sort(key=lambda item: -item[0])
    return [ring for _, ring in best[:MOST_CIRCLES]]


def _fit(rims: Rims, ring: Ring, config: BubbleConfig) -> tuple[Ring, float]:
    """The ellipse near a circle that meets a rim in most directions, and in what share of them."""
    tried = np.array(
        list(itertools.product((-2, 0, 2), (-2, 0, 2), (-0.07, -0.035, 0, 0.035), (0.9, 1, 1.1)))
    )
    start, seen = _best_seen(rims, ring, tried, config.min_rim)
    if seen < config.min_round - NEARER_GAINS:
        return ring, seen
    nearer = start + np.array(
        list(itertools.product((-1, 0, 1), (-1, 0, 1), (-0.02, 0, 0.02), (0,)))
    )
    best, seen = _best_seen(rims, ring, nearer, config.min_rim)
    dx, dy, growth, squeeze = best.tolist()
    radius = ring.radius * (1 + growth)
    return Ring(ring.x + dx, ring.y + dy, radius, squeeze), seen


def _best_seen(
    rims: Rims, ring: Ring, tried: NDArray[np.float64], min_rim: float
) -> tuple[NDArray[np.float64], float]:
    """The ellipse (shift, growth, squeeze) with a rim along it in the largest share of directions.

    Of several with the same share the one on the strongest rim. Directions that leave the block
    don't count; where half of them do, nothing is seen.
    """
    angle = np.arange(NUM_ANGLES) * 2 * np.pi / NUM_ANGLES
    radius, squeeze = ring.radius * (1 + tried[:, 2:3]), tried[:, 3:4]
    height, width = rims.strength.shape
    seen = np.zeros((len(tried), NUM_ANGLES), bool)
    inside = np.zeros_like(seen)
    strength = np.zeros(len(tried))
    normal = np.stack(np.broadcast_arrays(np.cos(angle) * squeeze, np.sin(angle)))
    normal /= np.linalg.norm(normal, axis=0)
    for nudge in (-0.7, 0.0, 0.7):
        x = np.rint(ring.x + tried[:, 0:1] + (radius + nudge) * np.cos(angle)).astype(np.int64)
        y = ring.y + tried[:, 1:2] + (radius + nudge) * squeeze * np.sin(angle)
        y = np.rint(y).astype(np.int64)
        here = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        at = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
        along = np.abs(rims.across_x[at] * normal[0] + rims.across_y[at] * normal[1]) > 0.9
        seen |= here & along & (rims.strength[at] > min_rim)
        inside |= here
        if nudge == 0:
            strength = (rims.strength[at] * here).sum(axis=1)
    counted = inside.sum(axis=1)
    share = np.where(counted * 2 > NUM_ANGLES, seen.sum(axis=1) / np.maximum(counted, 1), 0.0)
    best = int(np.lexsort((strength, share))[-1])
    return tried[best], float(share[best])


def _paint(mask: Bool[Bools, "h w"], ring: Ring, left: int, top: int) -> None:
    """Fill a ring that was found in a block with that corner."""
    cx, cy = left + ring.x, top + ring.y
    wide = OUTER * ring.radius
    high = wide * ring.squeeze
    rows = slice(max(0, int(cy - high)), min(mask.shape[0], int(cy + high) + 2))
    columns = slice(max(0, int(cx - wide)), min(mask.shape[1], int(cx + wide) + 2))
    y, x = np.mgrid[rows, columns]
    mask[rows, columns] |= np.hypot((x - cx) / wide, (y - cy) / high) <= 1
