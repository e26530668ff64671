"""A drawn site: slides with outlines of tissue, as QuPath exports them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drawn import draw_tissue, write_pyramid

SPAN = 224
"""Side of a tile on these slides, level-0 pixels."""

Box = tuple[int, int, int, int]


def outline(label: str | None, box: Box, **properties: Any) -> dict[str, Any]:
    """A rectangle (left, top, right, bottom) with a class."""
    left, top, right, bottom = box
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    named = {} if label is None else {"classification": {"name": label, "color": [200, 0, 0]}}
    return {
        "type": "Feature",
        "id": "PathAnnotationObject",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", **named, **properties},
    }


def write_annotations(path: Path, features: Sequence[Any]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def write_listing(folder: Path, names: Sequence[str], patients: Sequence[str] = ()) -> None:
    """`slides.csv`; slides end in .tif and their annotations in .geojson."""
    lines = ["slide,annotations" + (",patient" if patients else "")]
    for at, name in enumerate(names):
        lines.append(f"{name}.tif,{name}.geojson" + (f",{patients[at]}" if patients else ""))
    (folder / "slides.csv").write_text("\n".join(lines) + "\n")


def write_annotated_site(
    folder: Path, names: Sequence[str] = ("a", "b", "c"), patients: Sequence[str] = ()
) -> Path:
    """Slides of 4 x 3 tiles, on tissue throughout: "tumour" on the left half, "healthy" right."""
    folder.mkdir(parents=True)
    width, height = 4 * SPAN, 3 * SPAN
    for seed, name in enumerate(names):
        picture = draw_tissue(width, height, seed=seed)
        write_pyramid(folder / f"{name}.tif", picture, mpp=0.5)
        halves = {"tumour": (0, 0, width // 2, height), "healthy": (width // 2, 0, width, height)}
        features = [outline(label, box) for label, box in halves.items()]
        write_annotations(folder / f"{name}.geojson", features)
    write_listing(folder, names, patients)
    return folder
