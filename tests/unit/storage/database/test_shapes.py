"""What may be drawn: corners and geometries, whatever is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.storage.database import shapes
from ruichat.storage.database.shapes import check_corners, check_geometry

lengths = st.floats(-1e6, 1e6)
junk: Any = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)
kinds = st.sampled_from(["Point", "LineString", "Polygon", "MultiPolygon", "Feature", "", None])


@settings(max_examples=50)
@given(points=junk.filter(lambda value: isinstance(value, list)))
def test_corners_are_checked_whatever_is_sent(points: list[Any]) -> None:
    for shape in ("rectangle", "polygon"):
        try:
            corners = check_corners(shape, points)
        except InputError:
            continue
        assert len(corners) >= 3 and all(len(corner) == 2 for corner in corners)


@given(kind=kinds, coordinates=junk)
def test_geometries_are_checked_whatever_is_sent(kind: str | None, coordinates: Any) -> None:
    try:
        checked = check_geometry({"type": kind, "coordinates": coordinates, "more": 1})
    except InputError:
        return
    assert set(checked) == {"type", "coordinates"}
    json.dumps(checked, allow_nan=False)
    assert check_geometry(checked) == checked


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


@pytest.mark.parametrize(
    ("kind", "coordinates"),
    [
        ("Point", [1]),
        ("Point", [1, 2, 3]),
        ("Point", [True, 1]),
        ("Point", [float("nan"), 1]),
        ("Point", [3e9, 1]),
        ("LineString", [[0, 0]]),
        ("Polygon", [[[0, 0], [1, 0], [1, 1], [0, 1]]]),
        ("Polygon", [[[0, 0], [1, 0], [0, 0]]]),
        ("Polygon", []),
        ("MultiPolygon", [[[0, 0], [1, 0], [1, 1], [0, 0]]]),
        ("GeometryCollection", []),
    ],
)
def test_geometries_that_are_no_geometries_are_refused(kind: str, coordinates: Any) -> None:
    with pytest.raises(InputError):
        check_geometry({"type": kind, "coordinates": coordinates})


def test_too_large_a_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "MAX_POINTS", 50)
    many = [[float(x), float(x % 7)] for x in range(51)]
    with pytest.raises(InputError, match="at most 50"):
        check_corners("polygon", many)
    with pytest.raises(InputError, match="over 50"):
        check_geometry({"type": "MultiPoint", "coordinates": many})
    with pytest.raises(InputError, match="over 50"):
        check_geometry({"type": "MultiLineString", "coordinates": [many[:26], many[26:]]})
    assert check_corners("polygon", many[1:]) == many[1:]
