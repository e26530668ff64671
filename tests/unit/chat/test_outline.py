"""What lies inside a drawn outline, and what of it lies on the slide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ruichat.chat.outline import MAX_POINTS, Outline0
from ruichat.errors import InputError
from ruichat.units import Region0

sides = st.integers(1, 500)
places = st.integers(-600, 600)
boxes = st.builds(Region0, places, places, sides, sides)
corners = st.tuples(st.floats(-500, 500), st.floats(-500, 500))


@given(boxes)
def test_a_rectangle_is_its_box(box: Region0) -> None:
    outline = Outline0.rectangle(box)
    assert outline.box0 == box
    assert outline.area_px == box.width * box.height
    assert outline.area_mm2(0.5) == pytest.approx(box.area_mm2(0.5))


@given(boxes, places, places)
def test_a_rectangle_holds_what_its_box_holds(box: Region0, x: int, y: int) -> None:
    inside = box.x < x + 0.5 < box.x + box.width and box.y < y + 0.5 < box.y + box.height
    assert Outline0.rectangle(box).holds(np.array([[x + 0.5, y + 0.5]]))[0] == inside


@given(boxes, sides, sides)
def test_clipping_a_rectangle_gives_the_common_box(box: Region0, width: int, height: int) -> None:
    left, right = max(0, box.x), min(width, box.x + box.width)
    top, bottom = max(0, box.y), min(height, box.y + box.height)
    if left >= right or top >= bottom:
        with pytest.raises(InputError, match="beside the slide"):
            Outline0.rectangle(box).within(width, height)
    else:
        clipped = Outline0.rectangle(box).within(width, height)
        assert clipped.box0 == Region0(left, top, right - left, bottom - top)
        assert clipped.area_px == pytest.approx((right - left) * (bottom - top))


@given(st.lists(corners, min_size=3, max_size=8), st.integers(0, 2**32 - 1))
def test_points_on_the_slide_stay_inside_when_clipped(
    points: list[tuple[float, float]], seed: int
) -> None:
    try:
        outline = Outline0.of(points)
        clipped = outline.within(200, 150)
    except InputError:
        assume(False)
        return
    xy = np.random.default_rng(seed).uniform([1, 1], [199, 149], (50, 2))
    # Clipping may leave edges of no width along the border, which hold nothing.
    assert (outline.holds(xy) == clipped.holds(xy)).mean() > 0.95


def test_a_notch_is_outside() -> None:
    outline = Outline0.of([[0, 0], [100, 0], [100, 100], [50, 20], [0, 100], [0, 0]])
    assert len(outline.points0) == 5
    assert list(outline.holds(np.array([[50.0, 10.0], [50.0, 60.0], [10.0, 60.0]]))) == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    "points",
    [
        [],
        [[0, 0], [1, 1]],
        [[0, 0], [1, 1], [2, 2]],
        [[0, 0], [1, 0], [math.nan, 1]],
        [[0, 0], [1, 0], [math.inf, 1]],
        [[0, 0, 0], [1, 0, 0], [1, 1, 1]],
        [[0, i] for i in range(MAX_POINTS)] + [[9, 9]],
    ],
)
def test_what_is_no_outline_is_refused(points: list[list[float]]) -> None:
    with pytest.raises(InputError):
        Outline0.of(points)
