"""Tissue that people outlined on one slide and named, as QuPath or our own page export it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.storage.geojson import (
    check_area,
    check_beside,
    check_geometry,
    class_name,
    polygons_of,
    read_features,
    value_of,
)

MAX_BYTES = 32_000_000
"""Of a file of annotations: far more than hands draw, and little enough to hold in memory."""

MAX_FEATURES = 10_000
"""Of a file, as many as the server takes at once."""

NO_CLASS = "annotations without a class"
NO_AREA = "points and lines"
DETECTED = "detections and cells"
REJECTED = "findings that were rejected"
PROPOSED = "proposals of a model that nobody accepted"


@dataclass(frozen=True, slots=True)
class Annotation:
    """Tissue with a name.

    Attributes:
        label: name of its class.
        rings0: closed rings, level-0 positions; what is inside is told by the even-odd rule.
        area0: level-0 pixels squared, holes left out.
    """

    label: str
    rings0: tuple[Float64[NDArray[np.float64], "_ 2"], ...]
    area0: float


@dataclass(frozen=True, slots=True)
class Annotations:
    """Of one slide.

    Attributes:
        outlines: in the order of the file.
        skipped: number of features by why they teach nothing.
    """

    outlines: tuple[Annotation, ...]
    skipped: Counter[str]


def read_annotations(
    path: Path, *, width0: int | None = None, height0: int | None = None
) -> Annotations:
    """Read a GeoJSON file.

    What a model proposed teaches only after a person accepted it: it would learn from itself.

    Args:
        path: of the file.
        width0: pixels of the slide, if known; a feature that lies wholly beside it is refused.
        height0: likewise.

    Raises:
        InputError: it is no such file, is too large, or a feature can't be right.
    """
    skipped: Counter[str] = Counter()

    def read(feature: dict[str, Any]) -> Annotation | None:
        properties = value_of(feature, "properties", dict, {})
        geometry = check_geometry(feature.get("geometry"))
        check_area(geometry)
        check_beside(geometry, width0, height0)
        label = class_name(value_of(properties, "classification", dict, {}))
        why = _why_skipped(properties, geometry, label)
        if why is None:
            return _annotation(label, geometry)
        skipped[why] += 1
        return None

    try:
        found = read_features(_bytes(path), read, most=MAX_FEATURES)
    except InputError as error:
        raise InputError(f"{path.name}: {error.message}", hint=error.hint) from error
    return Annotations(tuple(one for one in found if one is not None), skipped)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"it can't be read ({error.strerror})", hint="Check the file") from error
    if len(data) > MAX_BYTES:
        raise InputError(
            f"it has over {MAX_BYTES / 1e6:g} MB",
            hint="Export annotations alone, without detections and measurements",
        )
    return data


def _why_skipped(properties: dict[str, Any], geometry: dict[str, Any], label: str) -> str | None:
    metadata = value_of(properties, "metadata", dict, {})
    status = metadata.get("ruichat:status")
    by_model = metadata.get("ruichat:origin") == "model" or "ruichat:model" in metadata
    # QuPath before 0.4 writes object_type.
    kind = properties.get("objectType") or properties.get("object_type") or "annotation"
    if kind != "annotation":
        return DETECTED
    if status == "rejected":
        return REJECTED
    if by_model and status != "accepted":
        return PROPOSED
    if not polygons_of(geometry):
        return NO_AREA
    return None if label else NO_CLASS


def _annotation(label: str, geometry: dict[str, Any]) -> Annotation:
    polygons = [
        [np.array(ring, np.float64) for ring in polygon] for polygon in polygons_of(geometry)
    ]
    area = sum(_area(outer) - sum(map(_area, holes)) for outer, *holes in polygons)
    return Annotation(label, tuple(ring for polygon in polygons for ring in polygon), float(area))


def _area(ring: Float64[NDArray[np.float64], "p 2"]) -> float:
    """By the shoelace formula, from the first corner: far from the origin it would lose digits."""
    x, y = (ring - ring[0]).T
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))) / 2
