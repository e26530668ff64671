"""Shapes on a slide as GeoJSON files hold them, in level-0 pixels; checked whatever they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, TypeVar, cast

from ruichat.errors import InputError

T = TypeVar("T")

MAX_POINTS = 100_000
"""Of one drawn shape: more than a hand draws, and little enough to show."""

MAX_XY0 = float(1 << 31)
"""Larger than any slide."""

JOINT = ": "
"""Between the parts of a derived class, as QuPath writes them in one name."""

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


def read_features(data: bytes, read: Callable[[dict[str, Any]], T], *, most: int) -> list[T]:
    """What is read of each feature of a FeatureCollection, a list, or one alone.

    Args:
        data: UTF-8 JSON.
        read: takes a feature, of which nothing is known but its type.
        most: features that are taken.

    Raises:
        InputError: not such a file, or a feature can't be used; the message names line or feature.
    """
    features = _features(_parsed(data))
    if len(features) > most:
        raise InputError(
            f"file holds {len(features)} features; at most {most} are taken", hint="Split the file"
        )
    found: list[T] = []
    for number, feature in enumerate(features, start=1):
        try:
            if not isinstance(feature, dict) or feature.get("type") != "Feature":
                raise InputError("this is no Feature", hint="See RFC 7946, 3.2")
            found.append(read(cast(dict[str, Any], feature)))
        except InputError as error:
            raise InputError(f"feature {number}: {error.message}", hint=error.hint) from error
    return found


def value_of(found: dict[str, Any], key: str, kind: Callable[..., T], missing: T) -> T:
    """A value of a kind; null counts as missing, which both are in QuPath's files.

    Raises:
        InputError: it is of another kind.
    """
    value = found.get(key)
    if value is None:
        return missing
    if not isinstance(value, cast(type, kind)):
        raise InputError(f"{key} isn't what it should be", hint="See QuPath's GeoJSON")
    return cast(T, value)


def class_name(classification: dict[str, Any]) -> str:
    """The name of QuPath's `classification`, of a derived one with its parts joined; "" if none.

    Raises:
        InputError: it isn't text.
    """
    names = value_of(classification, "names", list, [])
    if any(not isinstance(name, str) for name in names):
        raise InputError("a name of the classification isn't text")
    return value_of(classification, "name", str, "") or JOINT.join(cast(list[str], names))


def check_geometry(geometry: Any) -> dict[str, Any]:
    """A GeoJSON geometry with type and coordinates alone.

    Raises:
        InputError: of another type, misshapen, too large, or with numbers that aren't finite.
    """
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    depth = _DEPTHS.get(kind) if isinstance(kind, str) else None
    if not isinstance(kind, str) or depth is None:
        raise InputError(
            "it has no geometry that is known", hint=f"Use one of {', '.join(_DEPTHS)}"
        )
    room = [MAX_POINTS]
    coordinates = _nested(geometry.get("coordinates"), depth, room, _FEWEST.get(kind, 1))
    checked = {"type": kind, "coordinates": coordinates}
    if any(ring[0] != ring[-1] for polygon in polygons_of(checked) for ring in polygon):
        raise InputError("polygon's ring isn't closed", hint="End it with its first position")
    return checked


def check_area(geometry: dict[str, Any]) -> None:
    """Refuse a polygon whose outer ring is a line.

    Raises:
        InputError: it encloses no area.
    """
    for polygon in polygons_of(geometry):
        if sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairwise(polygon[0])) == 0:
            raise InputError("polygon encloses no area", hint="Remove it")


def check_beside(geometry: dict[str, Any], width0: int | None, height0: int | None) -> None:
    """Refuse a geometry that lies wholly beside a slide, if the slide's size is known.

    Raises:
        InputError: it does.
    """
    if width0 is None or height0 is None:
        return
    positions = list(_positions(geometry["coordinates"]))
    columns, rows = [x for x, _ in positions], [y for _, y in positions]
    beside = max(columns) < 0 or max(rows) < 0 or min(columns) > width0 or min(rows) > height0
    if beside:
        raise InputError(
            f"it lies beside the slide of {width0} x {height0} px",
            hint="Positions are pixels of level 0; is this the right slide?",
        )


def polygons_of(geometry: dict[str, Any]) -> list[list[list[list[float]]]]:
    """The polygons of a checked geometry, each a list of closed rings; none of points or lines."""
    kind, coordinates = geometry["type"], geometry["coordinates"]
    return {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(kind, [])


def check_position(value: Any) -> list[float]:
    """[x0, y0]; a third number, which RFC 7946 allows for height, is no part of a slide.

    Raises:
        InputError: it isn't two finite numbers.
    """
    right = isinstance(value, list | tuple) and len(value) == 2
    if not right or any(isinstance(item, bool) or not _is_length(item) for item in value):
        raise InputError(
            "a position isn't two finite numbers", hint="Give [x, y] in pixels of level 0"
        )
    return [float(value[0]), float(value[1])]


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"file isn't UTF-8 (byte {error.start})", hint="Save it as UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"line {error.lineno}, column {error.colno}: {error.msg}",
            hint="Give GeoJSON, as QuPath exports it",
        ) from error
    except (RecursionError, ValueError) as error:
        raise InputError(
            "JSON is nested too deeply, or holds a number that is too long",
            hint="Give GeoJSON, as QuPath exports it",
        ) from error


def _features(parsed: Any) -> list[Any]:
    if isinstance(parsed, dict) and parsed.get("type") == "FeatureCollection":
        parsed = parsed.get("features")
    elif isinstance(parsed, dict) and parsed.get("type") == "Feature":
        parsed = [parsed]
    if not isinstance(parsed, list):
        raise InputError("file holds no features", hint="Give a FeatureCollection")
    return parsed


def _nested(value: Any, depth: int, room: list[int], fewest: int) -> Any:
    """Positions in lists of that depth; `room` counts how many more may come."""
    if depth == 0:
        room[0] -= 1
        if room[0] < 0:
            raise InputError(
                f"geometry has over {MAX_POINTS} positions", hint="Simplify it or split it"
            )
        return check_position(value)
    if not isinstance(value, list | tuple) or len(value) < (fewest if depth == 1 else 1):
        raise InputError("geometry's coordinates have the wrong shape", hint="See RFC 7946")
    return [_nested(item, depth - 1, room, fewest) for item in value]


def _is_length(item: Any) -> bool:
    return isinstance(item, int | float) and abs(item) <= MAX_XY0 and math.isfinite(item)


def _positions(coordinates: Any) -> Iterator[list[float]]:
    if isinstance(coordinates[0], float):
        yield coordinates
        return
    for item in coordinates:
        yield from _positions(item)
