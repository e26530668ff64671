"""A slide's tiles become at most k named regions: cells of a balanced spatial tree."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from ruichat.errors import InputError
from ruichat.units import UM2_PER_MM2, Region0

GEOMETRY_DIM = 8
"""Numbers that say where a region lies and how large it is; see `geometry_features`."""

BALANCE_SLACK = 0.15
"""How far a cut may leave the balanced position to fall into a gap between tiles, as a share of
the smaller side. Ours: 0.15 bounds a region at twice the mean tile count for 32 regions."""

_NAME = re.compile(r"\[?R([1-9][0-9]*)\]?")


@dataclass(frozen=True)
class Regions:
    """The named regions of one slide.

    Attributes:
        boxes: bounding box of each region's tiles, in reading order; R1 is `boxes[0]`.
        assignment: region index (0 for R1) of each tile.
        geometry: see `geometry_features`.
    """

    boxes: tuple[Region0, ...]
    assignment: Int64[np.ndarray, " n"]
    geometry: Float32[np.ndarray, "k g"]

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def names(self) -> tuple[str, ...]:
        """R1 to Rk."""
        return tuple(f"R{i + 1}" for i in range(len(self.boxes)))

    @property
    def num_tiles(self) -> Int64[np.ndarray, " k"]:
        """Tiles in each region."""
        return np.bincount(self.assignment, minlength=len(self.boxes)).astype(np.int64)

    def index(self, name: str) -> int:
        """Position of 'R7' or '[R7]' in `boxes`.

        Raises:
            InputError: not a region name, or the slide has fewer regions.
        """
        match = _NAME.fullmatch(name.strip())
        if match is None:
            raise InputError(
                f"{name!r} is not a region name", hint="Regions are called R1, R2, ..."
            )
        index = int(match[1]) - 1
        if index >= len(self.boxes):
            raise InputError(
                f"there is no region {name}", hint=f"This slide has R1 to R{len(self.boxes)}"
            )
        return index

    def box(self, name: str) -> Region0:
        """Level-0 box of a region; raises as `index`."""
        return self.boxes[self.index(name)]

    def tiles(self, name: str) -> Int64[np.ndarray, " m"]:
        """Indices of a region's tiles; raises as `index`."""
        return np.flatnonzero(self.assignment == self.index(name)).astype(np.int64)


def split_regions(
    xy0: Int64[np.ndarray, "n 2"],
    span0: int,
    base_mpp: float,
    size0: tuple[int, int],
    max_regions: int = 32,
) -> Regions:
    """Cut a slide's tiles into min(n, max_regions) regions of about equally many tiles.

    Args:
        xy0: top-left corners of the tiles.
        span0: side of a tile.
        base_mpp: resolution of level 0.
        size0: width and height of the slide; boxes are clipped to it.
        max_regions: upper bound on the number of regions.

    Raises:
        InputError: there is no tile.

    Source:
        Balanced k-d tree, Bentley 1975. Ours: leaves needn't be a power of two, the longer side
        is cut, and a cut prefers a gap between tiles near the balanced position.
    """
    if len(xy0) == 0:
        raise InputError("the slide has no tissue tiles", hint="Give a slide that shows tissue")
    if max_regions < 1:
        raise InputError(f"max_regions is {max_regions}; at least 1 is needed")
    groups: list[np.ndarray] = []
    _split(np.arange(len(xy0)), xy0, min(len(xy0), max_regions), groups)
    corners = np.array([_bounds(xy0[group], span0, size0) for group in groups])
    order = _reading_order(corners)
    assignment = np.empty(len(xy0), np.int64)
    for rank, leaf in enumerate(order):
        assignment[groups[leaf]] = rank
    corners = corners[order]
    boxes = tuple(
        Region0(int(x0), int(y0), int(x1 - x0), int(y1 - y0)) for x0, y0, x1, y1 in corners
    )
    num_tiles = np.array([len(groups[leaf]) for leaf in order])
    return Regions(boxes, assignment, geometry_features(corners, num_tiles, base_mpp))


def geometry_features(
    corners: np.ndarray, num_tiles: np.ndarray, base_mpp: float
) -> Float32[np.ndarray, "k 8"]:
    """Where regions lie and how large they are.

    Args:
        corners: x0, y0, x1, y1 of each region's box, level-0 pixels, [k, 4].
        num_tiles: tiles in each region, [k].
        base_mpp: resolution of level 0.

    Returns:
        Per region: centre x, y relative to the box around all regions (-1 to 1); width, height
        in mm; log of the box area in mm²; centre x, y in mm from the centre of that box around
        all; log1p of the number of tiles.
    """
    mm = base_mpp / np.sqrt(UM2_PER_MM2)
    corners = np.asarray(corners, np.float64)
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-9)
    centre = (corners[:, :2] + corners[:, 2:]) / 2 - middle
    size_mm = (corners[:, 2:] - corners[:, :2]) * mm
    log_area = np.log(np.maximum(size_mm.prod(axis=1, keepdims=True), 1e-9))
    log_tiles = np.log1p(np.asarray(num_tiles, np.float64))[:, None]
    parts = [centre / half, size_mm, log_area, centre * mm, log_tiles]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _split(tiles: np.ndarray, xy0: np.ndarray, num: int, groups: list[np.ndarray]) -> None:
    """Append `num` groups of `tiles` to `groups`."""
    if num == 1:
        groups.append(tiles)
        return
    axis = int(np.argmax(np.ptp(xy0[tiles], axis=0)))
    tiles = tiles[np.lexsort((xy0[tiles, 1 - axis], xy0[tiles, axis]))]
    num_left = num // 2
    cut = _cut(xy0[tiles, axis], num_left, num - num_left)
    _split(tiles[:cut], xy0, num_left, groups)
    _split(tiles[cut:], xy0, num - num_left, groups)


def _cut(position: np.ndarray, num_left: int, num_right: int) -> int:
    """Where to cut sorted positions so that each side's regions get about equally many tiles."""
    n, num = len(position), num_left + num_right
    balanced = n * num_left / num
    slack = BALANCE_SLACK * n * min(num_left, num_right) / num
    low = min(max(round(balanced - slack), num_left), n - num_right)
    high = max(min(round(balanced + slack), n - num_right), low)
    candidates = np.arange(low, high + 1)
    gap = position[candidates] - position[candidates - 1]
    # The widest gap wins; among equals the one nearest to balance.
    return int(candidates[np.lexsort((np.abs(candidates - balanced), -gap))[0]])


def _bounds(xy0: np.ndarray, span0: int, size0: tuple[int, int]) -> np.ndarray:
    """x0, y0, x1, y1 around tiles, clipped to the slide but never empty."""
    low = np.clip(xy0.min(axis=0), 0, np.array(size0) - 1)
    high = np.clip(xy0.max(axis=0) + span0, low + 1, np.maximum(size0, low + 1))
    return np.concatenate([low, high])


def _reading_order(corners: np.ndarray) -> np.ndarray:
    """Top to bottom by bands as tall as the median box, left to right within a band."""
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    band_height = max(float(np.median(corners[:, 3] - corners[:, 1])), 1.0)
    band = np.floor((centre[:, 1] - centre[:, 1].min()) / band_height)
    return np.lexsort((centre[:, 1], centre[:, 0], band))
