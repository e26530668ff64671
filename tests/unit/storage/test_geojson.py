"""Geometries in files, whatever they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.storage import geojson
from ruichat.storage.geojson import check_geometry

junk: Any = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)
kinds = st.sampled_from(["Point", "LineString", "Polygon", "MultiPolygon", "Feature", "", None])


@given(kind=kinds, coordinates=junk)
def test_geometries_are_checked_whatever_is_sent(kind: str | None, coordinates: Any) -> None:
    try:
        checked = check_geometry({"type": kind, "coordinates": coordinates, "more": 1})
    except InputError:
        return
    assert set(checked) == {"type", "coordinates"}
    json.dumps(checked, allow_nan=False)
    assert check_geometry(checked) == checked


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


def test_too_large_a_geometry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson, "MAX_POINTS", 50)
    many = [[float(x), float(x % 7)] for x in range(51)]
    with pytest.raises(InputError, match="over 50"):
        check_geometry({"type": "MultiPoint", "coordinates": many})
    with pytest.raises(InputError, match="over 50"):
        check_geometry({"type": "MultiLineString", "coordinates": [many[:26], many[26:]]})
