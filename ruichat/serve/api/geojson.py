"""Findings as the GeoJSON that QuPath writes and reads: level-0 pixels, origin top left."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, cast

from ruichat.chat.geojson import UNCLASSIFIED_COLOR
from ruichat.chat.labelling import PRODUCER, VISIBLE_LABEL
from ruichat.errors import InputError
from ruichat.storage.database.findings import MAX_AT_ONCE, NewFinding
from ruichat.storage.database.models import Finding
from ruichat.storage.database.shapes import check_geometry

T = TypeVar("T")

MEDIA_TYPE = "application/geo+json"

MAX_REVISION_DIGITS = 9
"""No finding is changed so often that its revision has more."""

_JOINT = ": "
"""Between the parts of a derived class, as QuPath writes them in one name."""


@dataclass(frozen=True)
class ReadFinding:
    """A feature of a file.

    Attributes:
        id: of a finding of ours that it may be, 32 hexadecimal digits; none otherwise.
        revision: that the finding had when it was exported; none if the file doesn't say.
        finding: what it holds.
    """

    id: str | None
    revision: int | None
    finding: NewFinding


def write_findings(findings: Iterable[Finding]) -> bytes:
    """A FeatureCollection of unlocked annotations, UTF-8.

    QuPath reads `classification` only with a colour, measurements only as numbers and metadata
    only as strings.
    """
    collection = {"type": "FeatureCollection", "features": [_feature(row) for row in findings]}
    return (json.dumps(collection, ensure_ascii=False) + "\n").encode()


def read_findings(data: bytes, *, width0: int | None, height0: int | None) -> list[ReadFinding]:
    """The features of a file: of a FeatureCollection, a list, or one alone.

    Args:
        data: UTF-8 JSON.
        width0: pixels of the slide, if known; a feature that lies wholly beside it is refused.
        height0: likewise.

    Raises:
        InputError: not such a file, or a feature can't be used; the message names line or feature.
    """
    features = _features(_parsed(data))
    if len(features) > MAX_AT_ONCE:
        raise InputError(
            f"file holds {len(features)} features; at most {MAX_AT_ONCE} are taken",
            hint="Split the file",
        )
    found: list[ReadFinding] = []
    for number, feature in enumerate(features, start=1):
        try:
            found.append(_read(feature))
            _check_beside(found[-1].finding.geometry, width0, height0)
        except InputError as error:
            raise InputError(f"feature {number}: {error.message}", hint=error.hint) from error
    return found


def _feature(row: Finding) -> dict[str, Any]:
    color = [int(row.color[start : start + 2], 16) for start in (1, 3, 5)]
    properties: dict[str, Any] = {
        "objectType": "annotation",
        "name": row.name,
        "color": color,
        "isLocked": False,
        "measurements": {} if row.confidence is None else {"AI confidence": row.confidence},
        "metadata": {
            "ruichat:status": row.status,
            "ruichat:origin": row.origin,
            "ruichat:made_by": row.made_by,
            "ruichat:revision": str(row.revision),
            "ruichat:note": row.note,
        },
    }
    if row.classification:
        parts = row.classification.split(_JOINT)
        named = {"names": parts} if len(parts) > 1 else {"name": row.classification}
        properties["classification"] = {**named, "color": color}
    if row.origin == "model":
        properties["metadata"] |= {"ruichat:label": VISIBLE_LABEL, "Software": PRODUCER}
    return {
        "type": "Feature",
        "id": str(uuid.UUID(row.id)),
        "geometry": row.points,
        "properties": properties,
    }


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
            hint="Send GeoJSON, as QuPath exports it",
        ) from error
    except (RecursionError, ValueError) as error:
        raise InputError(
            "JSON is nested too deeply, or holds a number that is too long",
            hint="Send GeoJSON, as QuPath exports it",
        ) from error


def _features(parsed: Any) -> list[Any]:
    if isinstance(parsed, dict) and parsed.get("type") == "FeatureCollection":
        parsed = parsed.get("features")
    elif isinstance(parsed, dict) and parsed.get("type") == "Feature":
        parsed = [parsed]
    if not isinstance(parsed, list):
        raise InputError("file holds no features", hint="Send a FeatureCollection")
    return parsed


def _read(feature: Any) -> ReadFinding:
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise InputError("this is no Feature", hint="See RFC 7946, 3.2")
    properties = _part(feature, "properties", dict, {})
    metadata = _part(properties, "metadata", dict, {})
    classification = _part(properties, "classification", dict, {})
    geometry = check_geometry(feature.get("geometry"))
    _check_area(geometry)
    return ReadFinding(
        id=_our_id(feature.get("id")),
        revision=_revision(metadata.get("ruichat:revision")),
        finding=NewFinding(
            geometry=geometry,
            name=_part(properties, "name", str, ""),
            classification=_class_name(classification),
            color=_color(properties, classification),
            note=_part(metadata, "ruichat:note", str, ""),
        ),
    )


def _part(found: dict[str, Any], key: str, kind: Callable[..., T], missing: T) -> T:
    """A value of a kind; null counts as missing, which both are in QuPath's files."""
    value = found.get(key)
    if value is None:
        return missing
    if not isinstance(value, cast(type, kind)):
        raise InputError(f"{key} isn't what it should be", hint="See QuPath's GeoJSON")
    return cast(T, value)


def _class_name(classification: dict[str, Any]) -> str:
    names = _part(classification, "names", list, [])
    if any(not isinstance(name, str) for name in names):
        raise InputError("a name of the classification isn't text")
    return _part(classification, "name", str, "") or _JOINT.join(cast(list[str], names))


def _color(properties: dict[str, Any], classification: dict[str, Any]) -> str:
    """#rrggbb of the object, else of its class; QuPath before 0.4 packs it into one number."""
    for holder in (properties, classification):
        color = holder.get("color")
        if color is not None:
            if not _is_rgb(color):
                raise InputError("colour isn't three numbers from 0 to 255", hint="[r, g, b]")
            return "#" + "".join(f"{part:02x}" for part in color)
        packed = holder.get("colorRGB")
        if isinstance(packed, int) and abs(packed) < 1 << 32:
            return f"#{packed & 0xFFFFFF:06x}"
    return "#" + "".join(f"{part:02x}" for part in UNCLASSIFIED_COLOR)


def _is_rgb(color: Any) -> bool:
    return (
        isinstance(color, list)
        and len(color) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in cast(list[Any], color))
    )


def _our_id(given: Any) -> str | None:
    """The id of a finding of ours, which we write as a UUID; other programs' ids are left alone."""
    try:
        return uuid.UUID(given).hex if isinstance(given, str) else None
    except ValueError:
        return None


def _revision(given: Any) -> int | None:
    if not isinstance(given, str) or not given.isdecimal():
        return None
    if len(given) > MAX_REVISION_DIGITS:
        raise InputError(
            f"ruichat:revision has {len(given)} digits; up to {MAX_REVISION_DIGITS} are possible",
            hint="Export the findings again",
        )
    return int(given)


def _check_area(geometry: dict[str, Any]) -> None:
    """Refuse a polygon whose outer ring is a line."""
    kind, coordinates = geometry["type"], geometry["coordinates"]
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(kind, [])
    for polygon in polygons:
        ring = polygon[0]
        if sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairwise(ring)) == 0:
            raise InputError("polygon encloses no area", hint="Remove it")


def _check_beside(geometry: dict[str, Any], width0: int | None, height0: int | None) -> None:
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


def _positions(coordinates: Any) -> Iterable[list[float]]:
    if isinstance(coordinates[0], float):
        yield coordinates
        return
    for item in coordinates:
        yield from _positions(item)
