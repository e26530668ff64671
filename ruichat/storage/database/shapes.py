"""What may be drawn on a slide: the corners of a region in level-0 pixels, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ruichat.errors import InputError
from ruichat.storage.database.models import Shape
from ruichat.storage.geojson import MAX_POINTS, check_position


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
    corners = [check_position(point) for point in points]
    if shape == "rectangle":
        corners = _rectangle(corners)
    if len(corners) < 3 or _area(corners) == 0:
        raise InputError(
            f"{shape} with {len(corners)} corners encloses no area",
            hint="Draw around the tissue that you mean",
        )
    return corners


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
