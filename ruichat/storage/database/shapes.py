"""What may be drawn on a slide: corners and GeoJSON geometries in level-0 pixels, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ruichat.errors import InputError
from ruichat.storage.database.models import Shape

MAX_POINTS = 100_000
"""Of one drawn shape: more than a hand draws, and little enough to show."""

MAX_XY0 = float(1 << 31)
"""Larger than any slide."""

_DEPTHS = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}
"""GeoJSON's geometries, and how deep their positions lie in lists (RFC 7946, 3.1)."""

_FEWEST = {"LineString": 2, "MultiLineString": 2, "Polygon": 4, "MultiPolygon": 4}
"""Positions of a line or of a closed ring, which ends where it began."""


def check_corners(shape: Shape, points: Sequence[Any]) -> list[list[float]]:
    """The corners of a drawn region.

    Args:
        points: [x0, y0] each, in order, not closed; the four of a rectangle, or two opposite ones.

    Returns:
        The corners; always four of a rectangle.

    Raises:
        InputError: too few or too many, not finite, without area.
    """
    if len(points) > MAX_POINTS:
        raise InputError(
            f"shape has {len(points)} corners; at most {MAX_POINTS} are kept", hint="Simplify it"
        )
    corners = [_position(point) for point in points]
    if shape == "rectangle":
        corners = _rectangle(corners)
    if len(corners) < 3 or _area(corners) == 0:
        raise InputError(
            f"{shape} with {len(corners)} corners encloses no area",
            hint="Draw around the tissue that you mean",
        )
    return corners


def check_geometry(geometry: Any) -> dict[str, Any]:
    """A GeoJSON geometry with type and coordinates alone.

    Raises:
        InputError: of another type, misshapen, too large, or with numbers that aren't finite.
    """
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    depth = _DEPTHS.get(kind) if isinstance(kind, str) else None
    if not isinstance(kind, str) or depth is None:
        raise InputError(
            "finding has no geometry that is known", hint=f"Use one of {', '.join(_DEPTHS)}"
        )
    room = [MAX_POINTS]
    coordinates = _nested(geometry.get("coordinates"), depth, room, _FEWEST.get(kind, 1))
    rings = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(kind, [])
    if any(ring[0] != ring[-1] for polygon in rings for ring in polygon):
        raise InputError("polygon's ring isn't closed", hint="End it with its first position")
    return {"type": kind, "coordinates": coordinates}


def _nested(value: Any, depth: int, room: list[int], fewest: int) -> Any:
    """Positions in lists of that depth; `room` counts how many more may come."""
    if depth == 0:
        room[0] -= 1
        if room[0] < 0:
            raise InputError(
                f"geometry has over {MAX_POINTS} positions", hint="Simplify it or split it"
            )
        return _position(value)
    if not isinstance(value, list | tuple) or len(value) < (fewest if depth == 1 else 1):
        raise InputError("geometry's coordinates have the wrong shape", hint="See RFC 7946")
    return [_nested(item, depth - 1, room, fewest) for item in value]


def _position(value: Any) -> list[float]:
    """[x0, y0]; a third number, which RFC 7946 allows for height, is no part of a slide."""
    right = isinstance(value, list | tuple) and len(value) == 2
    if not right or any(isinstance(item, bool) or not _is_length(item) for item in value):
        raise InputError(
            "a position isn't two finite numbers", hint="Give [x, y] in pixels of level 0"
        )
    return [float(value[0]), float(value[1])]


def _is_length(item: Any) -> bool:
    return isinstance(item, int | float) and abs(item) <= MAX_XY0 and math.isfinite(item)


def _rectangle(corners: list[list[float]]) -> list[list[float]]:
    """Four corners, clockwise from the top left, of two opposite or of all four ones."""
    columns, rows = sorted({x for x, _ in corners}), sorted({y for _, y in corners})
    if len(corners) not in (2, 4) or len(columns) != 2 or len(rows) != 2:
        raise InputError(
            "rectangle's corners don't lie on two columns and two rows",
            hint="Give two opposite corners, or draw a polygon",
        )
    (left, right), (top, bottom) = columns, rows
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def _area(corners: list[list[float]]) -> float:
    """Twice the area that a polygon encloses, by the shoelace formula; 0 if it is a line."""
    shifted = [*corners[1:], corners[0]]
    return abs(sum(ax * by - bx * ay for (ax, ay), (bx, by) in zip(corners, shifted, strict=True)))
