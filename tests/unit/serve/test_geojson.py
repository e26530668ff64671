from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import SQUARE, draw_world

from ruichat.errors import InputError
from ruichat.serve.api.geojson import read_findings, write_findings
from ruichat.storage.database import users
from ruichat.storage.database.models import Finding

QUPATH = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "id": "8f14e45f-ceea-467f-a9b1-2c3d4e5f6a7b",
            "geometry": {**SQUARE, "plane": {"c": -1, "z": 0, "t": 0}},
            "properties": {
                "objectType": "annotation",
                "name": "edge",
                "classification": {"names": ["Tumor", "Positive"], "color": [200, 0, 0]},
                "isLocked": True,
                "measurements": {"Area": 12.5},
            },
        },
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [7, 8]},
            "properties": {"objectType": "annotation", "classification": None},
        },
    ],
}
"""As QuPath 0.6 exports an annotation with a derived class, and a point without one."""


@pytest.fixture
def li(join):
    return join("pathologist", "li")


@pytest.fixture
def world(services, li):
    with services.database.session() as session:
        user = users.find_user(session, name="li")
    return draw_world(services.database, owner_id=user.id)


def check_opens_in_qupath(collection):
    """The rules of QuPath's reader that it doesn't forgive."""
    assert collection["type"] == "FeatureCollection"
    for feature in collection["features"]:
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        properties = feature["properties"]
        assert properties["objectType"] == "annotation"
        if "classification" in properties:
            assert len(properties["classification"]["color"]) == 3
            assert ("name" in properties["classification"]) != (
                "names" in properties["classification"]
            )
        assert all(isinstance(v, int | float) for v in properties["measurements"].values())
        assert all(isinstance(v, str) for v in properties["metadata"].values())
        assert properties["metadata"]["ruichat:status"] in ("proposed", "accepted", "rejected")


def test_what_is_exported_and_imported_again_changes_nothing(li, world):
    path = world.fill("/api/v1/slides/{slide_id}/findings.geojson")
    exported = li.get(path)
    assert exported.headers["content-type"] == "application/geo+json"
    assert "attachment" in exported.headers["content-disposition"]
    check_opens_in_qupath(exported.json())
    feature = exported.json()["features"][0]
    assert feature["properties"]["classification"] == {"name": "Tumor", "color": [200, 0, 0]}
    assert feature["properties"]["metadata"]["ruichat:label"]
    again = li.post(path, content=exported.content).json()
    assert again == {"added": 0, "changed": 0, "unchanged": 1}
    assert li.get(path).content == exported.content


def test_what_qupath_wrote_becomes_proposals(li, world):
    path = world.fill("/api/v1/slides/{slide_id}/findings.geojson")
    body = json.dumps(QUPATH, indent=2).encode("utf-8-sig")
    assert li.post(path, content=body).json() == {"added": 2, "changed": 0, "unchanged": 0}
    rows = li.get(world.fill("/api/v1/slides/{slide_id}/findings")).json()["items"][1:]
    assert [row["classification"] for row in rows] == ["Tumor: Positive", ""]
    assert {row["status"] for row in rows} == {"proposed"}
    assert {row["origin"] for row in rows} == {"import"}
    assert rows[0]["color"] == "#c80000"
    exported = li.get(path).json()
    check_opens_in_qupath(exported)
    classes = [feature["properties"].get("classification") for feature in exported["features"]]
    assert {"names": ["Tumor", "Positive"], "color": [200, 0, 0]} in classes and None in classes


def listed(li, path, **query):
    """All pages of a list."""
    items = []
    while True:
        page = li.get(path, params={"limit": 100, "offset": len(items), **query}).json()
        items += page["items"]
        if len(items) >= page["total"]:
            return items


def shape(number):
    """Points, lines and squares in turn."""
    x, y = 2 * (number % 40), 2 * (number // 40)
    corners = [[x, y], [x + 2, y], [x + 2, y + 2], [x, y]]
    return (
        {"type": "Point", "coordinates": [x, y]},
        {"type": "LineString", "coordinates": corners[:3]},
        {"type": "Polygon", "coordinates": [corners]},
    )[number % 3]


def test_four_hundred_findings_are_stepped_through_decided_and_exchanged(li, world):
    path = world.fill("/api/v1/slides/{slide_id}/findings.geojson")
    rows = world.fill("/api/v1/slides/{slide_id}/findings")
    features = [
        {"type": "Feature", "geometry": shape(i), "properties": {"name": f"finding {i}"}}
        for i in range(400)
    ]
    sent = li.post(path, json={"type": "FeatureCollection", "features": features})
    assert sent.json() == {"added": 400, "changed": 0, "unchanged": 0}
    items = [item for item in listed(li, rows) if item["name"].startswith("finding ")]
    assert [item["name"] for item in items] == [f"finding {i}" for i in range(400)], "in order"
    assert [item["geometry"]["type"] for item in items[:3]] == ["Point", "LineString", "Polygon"]
    decided = [
        li.post(f"/api/v1/findings/{item['id']}/{verb}", json={"revision": item["revision"]})
        for item, verb in zip(items[:60], ("accept", "reject", "accept") * 20, strict=True)
    ]
    assert {answer.status_code for answer in decided} == {200}
    undone = decided[0].json()
    li.post(f"/api/v1/findings/{undone['id']}/undo", json={"revision": undone["revision"]})
    count = {
        status: len(listed(li, rows, status=status))
        for status in ("proposed", "accepted", "rejected")
    }
    assert (count["accepted"], count["rejected"]) == (39, 20)
    exported = li.get(path)
    check_opens_in_qupath(exported.json())
    again = li.post(path, content=exported.content).json()
    assert again["added"] == again["changed"] == 0 and again["unchanged"] >= 400


def test_what_was_changed_in_qupath_is_a_proposal_again(li, world):
    path = world.fill("/api/v1/slides/{slide_id}/findings.geojson")
    finding = world.fill("/api/v1/findings/{finding_id}")
    li.post(f"{finding}/accept", json={"revision": 1})
    exported = li.get(path).json()
    moved = json.loads(json.dumps(exported))
    moved["features"][0]["geometry"]["coordinates"][0][2] = [150, 150]
    assert li.post(path, json=moved).json() == {"added": 0, "changed": 1, "unchanged": 0}
    assert li.get(finding).json()["status"] == "proposed"
    # Meanwhile it is another: who changed the older one is told, and nothing is overwritten.
    moved["features"][0]["properties"]["name"] = "late"
    assert li.post(path, json=moved).status_code == 409
    assert li.get(finding).json()["name"] == "focus"


def test_a_file_is_taken_whole_or_not_at_all(li, world):
    path = world.fill("/api/v1/slides/{slide_id}/findings.geojson")
    bad = json.loads(json.dumps(QUPATH))
    bad["features"][1]["geometry"]["coordinates"] = [7, "8"]
    answer = li.post(path, json=bad)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("feature 2: ")
    assert li.get(world.fill("/api/v1/slides/{slide_id}/findings")).json()["total"] == 1


def polygon(*points):
    return {"type": "Polygon", "coordinates": [list(points)]}


@pytest.mark.parametrize(
    ("geometry", "said"),
    [
        (polygon([0, 0], [9, 0], [9, 9], [0, 9]), "isn't closed"),
        (polygon([0, 0], [9, 9], [0, 0]), "wrong shape"),
        (polygon([0, 0], [9, 9], [18, 18], [0, 0]), "no area"),
        (polygon([6000, 0], [6009, 0], [6009, 9], [6000, 0]), "beside the slide"),
        (polygon([0, 0], [9, 0], [9, float("nan")], [0, 0]), "finite"),
        (polygon([0, 0], [9, 0], [9, 1e300], [0, 0]), "finite"),
        ({"type": "GeometryCollection", "geometries": []}, "no geometry that is known"),
        ({"type": "Circle", "coordinates": [0, 0]}, "no geometry that is known"),
        (None, "no geometry that is known"),
        ({"type": "Polygon"}, "wrong shape"),
    ],
)
def test_bad_geometry_is_named_by_its_feature(geometry, said):
    good = QUPATH["features"][0]
    data = {"type": "FeatureCollection", "features": [good, good | {"geometry": geometry}]}
    with pytest.raises(InputError, match=f"feature 2: .*{said}"):
        read_findings(json.dumps(data).encode(), width0=5000, height0=4000)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"type": "FeatureCollection",\n "features": [}', "line 2, column 15"),
        (b"", "line 1, column 1"),
        (b"\xff\xfe", "UTF-8"),
        (b"7", "no features"),
        (b'{"type": "FeatureCollection"}', "no features"),
        (b"[7]", "feature 1: this is no Feature"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "too long"),
    ],
)
def test_what_is_no_geojson_is_named_by_its_line(data, said):
    with pytest.raises(InputError, match=said):
        read_findings(data, width0=None, height0=None)


@pytest.mark.parametrize(
    ("revision", "read"), [("12", 12), ("9" * 9, 999_999_999), (12, None), ("-1", None), ("", None)]
)
def test_a_revision_is_read_where_it_may_be_one(revision, read):
    metadata = {"metadata": {"ruichat:revision": revision}}
    feature = {"type": "Feature", "geometry": SQUARE, "properties": metadata}
    (found,) = read_findings(json.dumps(feature).encode(), width0=None, height0=None)
    assert found.revision == read


@pytest.mark.parametrize("num", [10, 5000])
def test_a_revision_of_too_many_digits_is_refused(num):
    metadata = {"metadata": {"ruichat:revision": "9" * num}}
    feature = {"type": "Feature", "geometry": SQUARE, "properties": metadata}
    with pytest.raises(InputError, match=f"feature 1: ruichat:revision has {num} digits"):
        read_findings(json.dumps(feature).encode(), width0=None, height0=None)


def test_a_list_or_a_feature_alone_will_do():
    feature = QUPATH["features"][0]
    for data in (feature, [feature], QUPATH["features"][:1]):
        found = read_findings(json.dumps(data).encode(), width0=None, height0=None)
        assert [each.finding.name for each in found] == ["edge"]


@pytest.mark.parametrize(
    ("properties", "color"),
    [
        ({"color": [1, 2, 3], "classification": {"name": "a", "color": [9, 9, 9]}}, "#010203"),
        ({"classification": {"name": "a", "color": [9, 9, 9]}}, "#090909"),
        ({"classification": {"name": "a", "colorRGB": -3670016}}, "#c80000"),
        ({}, "#808080"),
    ],
)
def test_the_colour_is_the_objects_or_its_classes(properties, color):
    feature = {"type": "Feature", "geometry": SQUARE, "properties": properties}
    found = read_findings(json.dumps(feature).encode(), width0=None, height0=None)
    assert found[0].finding.color == color


@settings(max_examples=40)
@given(
    name=st.text(max_size=20),
    classification=st.text(max_size=20),
    color=st.from_regex(r"#[0-9a-f]{6}", fullmatch=True),
    note=st.text(max_size=20),
    revision=st.integers(1, 99),
    corner=st.floats(1, 1e6, allow_nan=False),
)
def test_every_finding_comes_back_as_it_left(name, classification, color, note, revision, corner):
    geometry = polygon([0.0, 0.0], [corner, 0.0], [corner, corner], [0.0, 0.0])
    row = Finding(
        id=uuid.uuid4().hex,
        name=name,
        classification=classification,
        color=color,
        note=note,
        revision=revision,
        points=geometry,
        status="proposed",
        origin="person",
        made_by="x",
        confidence=None,
    )
    data = write_findings([row])
    check_opens_in_qupath(json.loads(data))
    (back,) = read_findings(data, width0=None, height0=None)
    found = back.finding
    assert (back.id, back.revision, found.geometry) == (row.id, revision, geometry)
    assert (found.name, found.color, found.note) == (name, color, note)
    assert found.classification == classification


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "type",
                        "features",
                        "geometry",
                        "coordinates",
                        "properties",
                        "id",
                        "classification",
                        "name",
                        "names",
                        "color",
                        "metadata",
                    ]
                ),
                inner,
            )
        ),
    )
)
def test_no_file_breaks_the_reader(anything):
    for wrapped in (
        anything,
        {"type": "FeatureCollection", "features": [anything]},
        [{"type": "Feature", "geometry": SQUARE, "properties": anything}],
    ):
        try:
            read_findings(json.dumps(wrapped).encode(), width0=10, height0=10)
        except InputError as error:
            assert error.message
