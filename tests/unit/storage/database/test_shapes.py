"""What may be drawn: corners, whatever is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.storage.database import shapes
from ruichat.storage.database.shapes import check_corners

lengths = st.floats(-1e6, 1e6)
junk: Any = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@settings(max_examples=50)
@given(points=junk.filter(lambda value: isinstance(value, list)))
def test_corners_are_checked_whatever_is_sent(points: list[Any]) -> None:
    for shape in ("rectangle", "polygon"):
        try:
            corners = check_corners(shape, points)
        except InputError:
            continue
        assert len(corners) >= 3 and all(len(corner) == 2 for corner in corners)


@given(left=lengths, top=lengths, width=st.floats(1, 1e6), height=st.floats(1, 1e6))
def test_a_rectangle_has_four_corners_however_it_was_drawn(
    left: float, top: float, width: float, height: float
) -> None:
    right, bottom = left + width, top + height
    four = [[left, top], [right, top], [right, bottom], [left, bottom]]
    assert check_corners("rectangle", four) == four
    assert check_corners("rectangle", [[right, top], [left, bottom]]) == four
    assert check_corners("rectangle", four[::-1]) == four


@pytest.mark.parametrize(
    "points",
    [[], [[0, 0]], [[0, 0], [5, 5]], [[0, 0], [5, 5], [9, 9]], [[0, 0], [1, 0], [1, 10**400]]],
)
def test_lines_are_no_polygons(points: list[Any]) -> None:
    with pytest.raises(InputError):
        check_corners("polygon", points)


def test_too_many_corners_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "MAX_POINTS", 50)
    many = [[float(x), float(x % 7)] for x in range(51)]
    with pytest.raises(InputError, match="at most 50"):
        check_corners("polygon", many)
    assert check_corners("polygon", many[1:]) == many[1:]
