"""Findings as the GeoJSON that QuPath writes and reads: level-0 pixels, origin top left."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from ruichat.chat.geojson import UNCLASSIFIED_COLOR
from ruichat.chat.labelling import PRODUCER, VISIBLE_LABEL
from ruichat.errors import InputError
from ruichat.storage.database.findings import MAX_AT_ONCE, NewFinding
from ruichat.storage.database.models import Finding
from ruichat.storage.geojson import (
    JOINT,
    check_area,
    check_beside,
    check_geometry,
    class_name,
    read_features,
    value_of,
)

MEDIA_TYPE = "application/geo+json"

MAX_REVISION_DIGITS = 9
"""No finding is changed so often that its revision has more."""


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

    def read(feature: dict[str, Any]) -> ReadFinding:
        found = _read(feature)
        check_beside(found.finding.geometry, width0, height0)
        return found

    return read_features(data, read, most=MAX_AT_ONCE)


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
        parts = row.classification.split(JOINT)
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


def _read(feature: dict[str, Any]) -> ReadFinding:
    properties = value_of(feature, "properties", dict, {})
    metadata = value_of(properties, "metadata", dict, {})
    classification = value_of(properties, "classification", dict, {})
    geometry = check_geometry(feature.get("geometry"))
    check_area(geometry)
    return ReadFinding(
        id=_our_id(feature.get("id")),
        revision=_revision(metadata.get("ruichat:revision")),
        finding=NewFinding(
            geometry=geometry,
            name=value_of(properties, "name", str, ""),
            classification=class_name(classification),
            color=_color(properties, classification),
            note=value_of(metadata, "ruichat:note", str, ""),
        ),
    )


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
