"""Overlays through the whole application: worked out once, kept, and shown to who may see them."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from fakes_bags import drawn_bag
from house import write_jpeg_pyramid
from PIL import Image

from ruichat.chat.facts import TileReading
from ruichat.histology import CLASSES
from ruichat.serve.slides import overlays as overlays_module
from ruichat.serve.slides.masks import class_layer
from ruichat.serve.slides.overlays import Overlay
from ruichat.storage.database import slides as rows


@pytest.fixture
def shown(served):
    """A slide that the client's user may see: client, id, house."""
    house, client = served
    return client, house.add(write_jpeg_pyramid(house.folder / "a.tif")), house


def some_classes():
    bag = drawn_bag(5, 4)
    probabilities = np.eye(len(CLASSES), dtype=np.float32)[[1, 1, 1, 4, 4]]
    return class_layer(bag, TileReading(probabilities, np.ones(5, np.float32)))


def test_masks_are_listed_with_legends_and_shown(shown):
    client, slide_id, _ = shown
    listed = client.get(f"/slides/{slide_id}/overlays").json()["overlays"]
    assert [each["name"] for each in listed] == ["tissue", "quality"]
    for each in listed:
        assert each["extent0"] == {"x": 0, "y": 0, "width": 900, "height": 700}
        assert all(item["en"] and item["zh"] and len(item["color"]) == 3 for item in each["legend"])
        address = f"/slides/{slide_id}/overlays/{each['name']}.png"
        answer = client.get(address)
        assert answer.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(answer.content)).mode == "RGBA"
        tag = answer.headers["etag"]
        assert client.get(address, headers={"If-None-Match": tag}).status_code == 304
        alone = client.get(address, params={"only": each["legend"][0]["key"]})
        assert alone.status_code == 200
        assert client.get(address, params={"only": "nothing"}).status_code == 404
    assert client.get(f"/slides/{slide_id}/overlays/other.png").status_code == 422


def test_classes_are_shown_once_the_slide_was_read(shown, services, monkeypatch):
    client, slide_id, house = shown
    address = f"/slides/{slide_id}/overlays/classes.png"
    monkeypatch.setattr(services.overlays, "_read_classes", lambda slide_id: None)
    assert client.get(address).status_code == 404
    monkeypatch.setattr(services.overlays, "_read_classes", lambda slide_id: some_classes())
    names = [each["name"] for each in client.get(f"/slides/{slide_id}/overlays").json()["overlays"]]
    assert names == ["tissue", "quality"]
    with house.database.session() as session:
        rows.record_slide(session, slide_id, state="ready")
    listed = client.get(f"/slides/{slide_id}/overlays").json()["overlays"]
    assert [each["name"] for each in listed] == ["classes", "tissue", "quality"]
    assert [item["key"] for item in listed[0]["legend"]] == [CLASSES[1].key, CLASSES[4].key]
    assert [item["share"] for item in listed[0]["legend"]] == pytest.approx([0.6, 0.4])
    assert client.get(address).status_code == 200
    assert client.get(address, params={"only": CLASSES[4].key}).status_code == 200


def test_what_the_model_has_read_gives_the_overlay_of_classes(shown, services):
    """With `mini` itself; once from memory, once from what is kept on disk."""
    client, slide_id, house = shown
    address = f"/slides/{slide_id}/overlays/classes.png"
    assert client.get(address).status_code == 404
    services.engine.read_slide(slide_id, house.user_id)
    end = time.monotonic() + 60
    while house.state(slide_id)[0] != "ready" and time.monotonic() < end:
        time.sleep(0.1)
    seen = client.get(address)
    assert seen.status_code == 200
    assert (np.asarray(Image.open(io.BytesIO(seen.content)))[..., 3] > 0).any()
    for kept in (services.settings.data_dir / "overlays").iterdir():
        kept.unlink()
    services.engine.memory.forget_slide(slide_id)
    assert client.get(address).content == seen.content


def test_masks_are_kept_until_the_file_changes(shown, services, monkeypatch):
    client, slide_id, house = shown
    found, times = overlays_module.find_tissue, []

    def count(*given):
        times.append(1)
        return found(*given)

    monkeypatch.setattr(overlays_module, "find_tissue", count)
    address = f"/slides/{slide_id}/overlays/tissue.png"
    assert client.get(address).content == client.get(address).content
    assert len(times) == 1
    (kept,) = (services.settings.data_dir / "overlays").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:100])
    client.get(address)
    assert len(times) == 2, "what a full disk cut off is made anew"
    assert kept.read_bytes() == whole
    with services.database.session() as session:
        rows.delete_slide(session, slide_id, user_id=house.user_id)
    services.library.forget(slide_id)
    assert not kept.exists()


def test_an_overlay_comes_back_from_disk_as_it_was():
    layer = some_classes()
    overlay = Overlay("classes", layer.extent0, layer.legend, {"": layer.png()})
    assert Overlay.from_json(overlay.to_json()) == overlay


def test_others_see_no_overlays(shown, join, client):
    _, slide_id, _ = shown
    for path in (f"/slides/{slide_id}/overlays", f"/slides/{slide_id}/overlays/tissue.png"):
        assert join(name=f"eve {len(path)}").get(path).status_code == 404
        assert client.get(path).status_code == 401
