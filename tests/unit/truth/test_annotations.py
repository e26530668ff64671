"""Files of outlined tissue: what teaches, what is counted and left out, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from annotated import outline, write_annotations

from ruichat.errors import InputError
from ruichat.truth import annotations
from ruichat.truth.annotations import NO_AREA, NO_CLASS, PROPOSED, REJECTED, read_annotations

BOX = (10, 10, 110, 60)


def test_outlines_have_their_class_and_area_without_holes(tmp_path: Path) -> None:
    holed, parts = outline("tumour", BOX), outline(None, BOX)
    hole = [[20, 20], [30, 20], [30, 30], [20, 30], [20, 20]]
    holed["geometry"]["coordinates"].append(hole)
    parts["properties"]["classification"] = {"names": ["Stroma", "inflamed"]}
    square = outline("", (200, 0, 300, 100))["geometry"]["coordinates"]
    parts["geometry"] = {
        "type": "MultiPolygon",
        "coordinates": [parts["geometry"]["coordinates"], square],
    }
    path = write_annotations(tmp_path / "a.geojson", [holed, parts])
    first, second = read_annotations(path).outlines
    assert (first.label, first.area0, len(first.rings0)) == ("tumour", 4900, 2)
    assert (second.label, second.area0) == ("Stroma: inflamed", 15000)


def test_what_does_not_teach_is_counted(tmp_path: Path) -> None:
    line = outline("tumour", BOX)
    line["geometry"] = {"type": "LineString", "coordinates": [[0, 0], [5, 5]]}
    by_model = {"ruichat:origin": "model", "ruichat:status": "proposed"}
    features = [
        outline(None, BOX),
        outline(None, BOX),
        line,
        outline("tumour", BOX, objectType="cell"),
        outline("tumour", BOX, objectType=None, object_type="detection"),
        outline("tumour", BOX, metadata={"ruichat:status": "rejected"}),
        outline("tumour", BOX, metadata=by_model),
        outline("stroma", BOX, metadata=by_model | {"ruichat:status": "accepted"}),
    ]
    found = read_annotations(write_annotations(tmp_path / "a.geojson", features))
    assert [one.label for one in found.outlines] == ["stroma"]
    assert found.skipped == {
        NO_CLASS: 2,
        NO_AREA: 1,
        annotations.DETECTED: 2,
        REJECTED: 1,
        PROPOSED: 1,
    }


def opened(ring: list[list[float]]) -> dict[str, Any]:
    return outline("tumour", BOX) | {"geometry": {"type": "Polygon", "coordinates": [ring]}}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"a\.geojson: line 1, column 1"),
        ("[" * 100_000, r"a\.geojson: JSON is nested too deeply"),
        ("[1" + "0" * 5000 + "]", r"a\.geojson: JSON .* a number that is too long"),
        ('{"type": "Topology"}', r"a\.geojson: file holds no features"),
        ("[7]", r"a\.geojson: feature 1: this is no Feature"),
        (json.dumps([opened([[0, 0], [9, 0], [9, 9], [0, 9]])]), "feature 1: .* isn't closed"),
        (json.dumps([opened([[0, 0], [9, 9], [5, 5], [0, 0]])]), "feature 1: .* no area"),
        (json.dumps([opened([[0, 0], [1e300, 0], [9, 9], [0, 0]])]), "two finite numbers"),
        (json.dumps([outline("x", BOX, classification=[1])]), "classification isn't what"),
        (json.dumps([outline("x", (2000, 0, 2100, 50))]), "beside the slide of 1000 x 500"),
    ],
)
def test_files_that_are_none_are_refused_by_name(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(text)
    with pytest.raises(InputError, match=match) as caught:
        read_annotations(path, width0=1000, height0=500)
    assert caught.value.hint


def test_files_that_are_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_annotations(tmp_path / "a.geojson", [outline("tumour", BOX)] * 3)
    monkeypatch.setattr(annotations, "MAX_FEATURES", 2)
    with pytest.raises(InputError, match=r"a\.geojson: file holds 3 features; at most 2"):
        read_annotations(path)
    monkeypatch.setattr(annotations, "MAX_BYTES", 100)
    with pytest.raises(InputError, match=r"a\.geojson: it has over 0.0001 MB"):
        read_annotations(path)


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").mkdir()
    with pytest.raises(InputError, match=r"a\.geojson: it can't be read"):
        read_annotations(tmp_path / "a.geojson")
