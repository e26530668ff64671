"""The outline of a region that a person drew on a slide: a closed polygon."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.units import UM2_PER_MM2, Mpp, Region0

MAX_POINTS = 2000
"""More than a hand draws; ours."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Outline0:
    """A closed polygon; what lies inside is decided by the even-odd rule.

    Attributes:
        points0: its corners in order, the first not repeated, level-0 pixels.

    Raises:
        InputError: fewer than three corners, too many, or no area.
    """

    points0: tuple[Point, ...]

    def __post_init__(self) -> None:
        num = len(self.points0)
        if not 3 <= num <= MAX_POINTS:
            raise InputError(
                f"the drawn region has {num} corners; 3 to {MAX_POINTS} are allowed",
                hint="Draw it again",
            )
        if not all(math.isfinite(value) for point in self.points0 for value in point):
            raise InputError("the drawn region has corners that are no numbers", hint="Draw again")
        if not self.area_px > 0:
            raise InputError("the drawn region has no area", hint="Draw a larger one")

    @classmethod
    def of(cls, points: Iterable[Sequence[float]]) -> Outline0:
        """From corners as files and requests hold them; the last may repeat the first.

        Raises:
            InputError: as the class.
        """
        pairs = [tuple(map(float, point)) for point in points]
        if any(len(pair) != 2 for pair in pairs):
            raise InputError("a corner needs x and y", hint="Give corners as [[x, y], ...]")
        corners = [(pair[0], pair[1]) for pair in pairs]
        if len(corners) > 1 and corners[0] == corners[-1]:
            corners.pop()
        return cls(tuple(corners))

    @classmethod
    def rectangle(cls, box0: Region0) -> Outline0:
        """The outline of a box."""
        right, bottom = box0.x + box0.width, box0.y + box0.height
        corners = ((box0.x, box0.y), (right, box0.y), (right, bottom), (box0.x, bottom))
        return cls(tuple((float(x), float(y)) for x, y in corners))

    @property
    def area_px(self) -> float:
        """Area by Gauss's formula, level-0 pixels squared; for outlines that don't cross."""
        return _area(self.points0)

    def area_mm2(self, base_mpp: Mpp) -> float:
        """Area in mm², where `base_mpp` is the resolution of level 0."""
        return self.area_px * base_mpp * base_mpp / UM2_PER_MM2

    @property
    def box0(self) -> Region0:
        """The smallest box of whole pixels around it."""
        x, y = self._columns()
        left, top = math.floor(x.min()), math.floor(y.min())
        return Region0(left, top, math.ceil(x.max()) - left, math.ceil(y.max()) - top)

    def holds(self, xy: Float[NDArray[Any], "n 2"]) -> Bool[NDArray[np.bool_], " n"]:
        """Which points lie inside."""
        x, y = self._columns()
        inside = np.zeros(len(xy), bool)
        for x1, y1, x2, y2 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
            crosses = (y1 > xy[:, 1]) != (y2 > xy[:, 1])
            if crosses.any():
                inside ^= crosses & (xy[:, 0] < (x2 - x1) * (xy[:, 1] - y1) / (y2 - y1) + x1)
        return inside

    def within(self, width: int, height: int) -> Outline0:
        """The part on a slide of this size.

        Raises:
            InputError: all of it lies beside the slide.

        Source:
            Sutherland and Hodgman 1974, Commun ACM 17:32-42.
        """
        corners: list[Point] = list(self.points0)
        for axis, bound, keeps_less in ((0, 0, False), (0, width, True), (1, 0, False)):
            corners = _clip(corners, axis, float(bound), keeps_less)
        corners = _clip(corners, 1, float(height), True)
        if len(corners) < 3 or _area(corners) <= 0:
            raise InputError(
                f"the drawn region lies beside the slide of {width} x {height} px",
                hint="Draw it on the slide",
            )
        return Outline0(tuple(corners))

    def _columns(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        points = np.array(self.points0, np.float64)
        return points[:, 0], points[:, 1]


def _area(corners: Sequence[Point]) -> float:
    x, y = np.array(corners, np.float64).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _clip(corners: list[Point], axis: int, bound: float, keeps_less: bool) -> list[Point]:
    """The part of a polygon on one side of a line along an axis."""
    kept: list[Point] = []
    for here, after in zip(corners, corners[1:] + corners[:1], strict=True):
        is_in, comes_in = (
            point[axis] <= bound if keeps_less else point[axis] >= bound for point in (here, after)
        )
        if is_in:
            kept.append(here)
        if is_in != comes_in:
            share = (bound - here[axis]) / (after[axis] - here[axis])
            other = here[1 - axis] + share * (after[1 - axis] - here[1 - axis])
            kept.append((bound, other) if axis == 0 else (other, bound))
    return kept
