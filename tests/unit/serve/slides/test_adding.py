"""Slides come into cases: whole or not at all, from nowhere but where they may."""

from __future__ import annotations

import logging
import os
import random
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawn import write_pyramid
from fakes_chat import make_backend, write_two_halves
from house import PICTURE, write_jpeg_pyramid
from PIL import Image

from ruichat.chat.ask import open_chat
from ruichat.serve.engine.memory import View
from ruichat.serve.settings import ServeSettings
from ruichat.serve.slides import entries as entries_module
from ruichat.serve.slides import uploads as uploads_module
from ruichat.serve.slides.entries import Entries
from ruichat.serve.slides.uploads import INCOMING, SlideForm, bare_name
from ruichat.storage.database import slides as rows


@pytest.fixture
def settings(settings: ServeSettings) -> ServeSettings:
    """Small files, and no model that would read them."""
    return settings.model_copy(update={"max_upload_gb": 0.004})


@pytest.fixture
def sent(served, services, monkeypatch):
    """House and client of a server whose engine notes what it is to read."""
    asked = []
    monkeypatch.setattr(
        services.engine, "read_slide", lambda slide_id, user_id: asked.append(slide_id)
    )
    house, client = served
    return house, client, asked


def left(services) -> list[str]:
    """Names of all files in the folder of uploads."""
    top = services.settings.data_dir / "uploads"
    return sorted(p.relative_to(top).as_posix() for p in top.rglob("*") if p.is_file())


@pytest.fixture
def slide_bytes(tmp_path: Path) -> bytes:
    return write_jpeg_pyramid(tmp_path / "sent.tif").read_bytes()


def upload(client, case_id, data, name="a.tif", **fields):
    return client.post(f"/cases/{case_id}/slides", files={"file": (name, data)}, data=fields)


def test_a_slide_that_is_sent_can_be_looked_at_and_is_read(sent, services, slide_bytes):
    house, client, asked = sent
    answer = upload(client, house.case_id, slide_bytes, "../../Smith, Jane.TIF", stain="HE")
    assert answer.status_code == 201
    slide_id = answer.json()["id"]
    assert left(services) == [f"{slide_id}/slide.tif"]
    info = client.get(f"/slides/{slide_id}/info").json()
    assert (info["name"], info["stain"], info["width0"]) == ("Smith, Jane.TIF", "HE", 900)
    assert client.get(f"/slides/{slide_id}/tiles/9/0_0.jpg").status_code == 200
    assert asked == [slide_id]


def test_a_slide_without_a_resolution_asks_for_it(sent, services, tmp_path):
    house, client, asked = sent
    data = write_pyramid(tmp_path / "b.tif", PICTURE, mpp=None).read_bytes()
    slide_id = upload(client, house.case_id, data).json()["id"]
    info = client.get(f"/slides/{slide_id}/info").json()
    assert info["needs_mpp"] and info["error"] and info["width0"] is None
    assert client.get(f"/slides/{slide_id}/tiles/9/0_0.jpg").status_code == 422
    assert asked == []
    address = f"/api/v1/slides/{slide_id}"
    assert client.patch(address, json={"given_mpp": 100.0}).status_code == 422
    assert client.patch(address, json={"given_mpp": 0.5, "stain": "HE"}).status_code == 200
    assert asked == [slide_id]
    assert client.patch(address, json={"given_mpp": 0.25}).status_code == 409
    assert client.patch(address, json={"given_mpp": 0.5}).status_code == 200
    info = client.get(f"/slides/{slide_id}/info").json()
    assert (info["needs_mpp"], info["mpp"], info["mpp_source"]) == (False, 0.5, "user")
    with house.database.session() as session:
        row = rows.any_slide(session, slide_id)
        assert (row.mpp, row.width0, row.error) == (0.5, 900, None)


@pytest.mark.parametrize(
    ("name", "change", "status"),
    [
        ("a.txt", lambda data: data, 422),
        ("a", lambda data: data, 422),
        ("a.mrxs", lambda data: data, 422),
        ("a.tif.exe", lambda data: data, 422),
        ("a.tif", lambda data: b"", 422),
        ("a.tif", lambda data: data[: len(data) // 2], 422),
        ("a.svs", lambda data: b"\x00" * 9000, 422),
        ("a.png", lambda data: b"<script>alert(1)</script>", 422),
        ("a.tif", lambda data: data * 200, 413),
    ],
)
def test_what_is_no_sound_slide_leaves_nothing(sent, services, slide_bytes, name, change, status):
    house, client, asked = sent
    answer = upload(client, house.case_id, change(slide_bytes), name)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
    assert (left(services), asked) == ([], [])
    with house.database.session() as session:
        assert rows.list_slides(session, house.case_id, user_id=house.user_id) == []


def test_a_full_disk_is_told_and_leaves_nothing(sent, services, slide_bytes):
    house, client, _ = sent
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        answer = upload(client, house.case_id, slide_bytes * 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert answer.status_code == 507 and "full" in answer.json()["error"]["message"]
    assert left(services) == []
    assert upload(client, house.case_id, slide_bytes).status_code == 201


def body_of(*parts: tuple[str, bytes], boundary: bytes = b"bound", end: bytes = b"--") -> bytes:
    pieces = [
        b"--"
        + boundary
        + b"\r\nContent-Disposition: form-data; "
        + head.encode()
        + b"\r\n\r\n"
        + data
        for head, data in parts
    ]
    return b"\r\n".join([*pieces, b"--" + boundary + end + b"\r\n"])


FILE = 'name="file"; filename="a.tif"'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=bound", b""),
        ("multipart/form-data; boundary=bound", b"no form at all"),
        ("multipart/form-data; boundary=bound", body_of(("name=stain", b"HE"))),
        ("multipart/form-data; boundary=bound", body_of((FILE, b"x" * 99))[:-9]),
        ("multipart/form-data; boundary=bound", body_of((FILE, b"x"), (FILE, b"y"))),
        ("multipart/form-data; boundary=bound", body_of(*[("name=x", b"")] * 99, (FILE, b"y"))),
        ("multipart/form-data; boundary=bound", body_of(("name=stain", b"x" * 9999), (FILE, b"y"))),
        ("multipart/form-data; boundary=bound", body_of(("name=" + "x" * 9999, b""), (FILE, b"y"))),
        ("multipart/form-data; boundary=" + "b" * 999, body_of((FILE, b"y"))),
        ("multipart/form-data", body_of((FILE, b"y"))),
        ("application/json", b"{}"),
        ("", b""),
    ],
)
def test_forms_that_are_none_are_refused(sent, services, kind, body):
    house, client, _ = sent
    path = f"/cases/{house.case_id}/slides"
    answer = client.post(path, content=body, headers={"Content-Type": kind})
    assert answer.status_code == 422, answer.text
    assert left(services) == []


def test_a_form_is_the_same_however_it_is_cut(tmp_path):
    data = bytes(random.Random(3).randbytes(5000))
    body = body_of(("name=stain", b"HE"), (FILE, data + b"\r\n--boun"))
    for size in (1, 7, 100, 10_000):
        got = bytearray()

        class Sink:
            write = got.extend

        form = SlideForm("multipart/form-data; boundary=bound", Sink)  # type: ignore[arg-type]
        for place in range(0, len(body), size):
            form.write(body[place : place + size])
        assert form.is_complete and form.fields == {"stain": "HE"} and form.suffix == ".tif"
        assert got == data + b"\r\n--boun"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\slides\\a.svs", "a.svs"),
        ("a\x00b\n.tif", "ab.tif"),
        ("x" * 500 + ".tif", "x" * 196 + ".tif"),
        ("病理.svs", "病理.svs"),
        ("", ""),
    ],
)
def test_names_are_shown_without_folders(given, shown):
    assert bare_name(given) == shown


def test_others_cannot_send_into_a_case(sent, services, join, slide_bytes):
    house, _, _ = sent
    assert upload(join(name="eve"), house.case_id, slide_bytes).status_code == 404
    assert upload(join("reader"), house.case_id, slide_bytes).status_code == 403
    assert left(services) == []


def test_a_slide_that_is_removed_takes_its_file_along(sent, services, slide_bytes):
    house, client, _ = sent
    slide_id = upload(client, house.case_id, slide_bytes).json()["id"]
    services.library.forget(slide_id)
    assert left(services), "a slide that is only opened anew keeps it"
    with house.database.session() as session:
        rows.delete_slide(session, slide_id, user_id=house.user_id)
    services.library.forget(slide_id)
    assert left(services) == []


def test_nothing_of_a_slide_that_is_removed_stays_in_memory(sent, services, slide_bytes, tmp_path):
    house, client, _ = sent
    slide_id = upload(client, house.case_id, slide_bytes).json()["id"]
    for tile in ("9/0_0", "0/0_0"):
        assert client.get(f"/slides/{slide_id}/tiles/{tile}.jpg").status_code == 200
    shown = services.tiles.shown(slide_id)
    with open_chat(write_two_halves(tmp_path / "c.tif"), backend=make_backend("Yes.")) as chat:
        services.engine.memory.keep(View(slide_id), chat.read)
    assert services.tiles.cached(slide_id, shown, 9, 0, 0)
    assert client.delete(f"/api/v1/slides/{slide_id}").status_code == 204
    assert services.tiles.shown(slide_id) is None
    assert services.tiles.cached(slide_id, shown, 9, 0, 0) is None
    assert services.tiles.num_bytes == 0
    assert services.engine.memory.get(View(slide_id)) is None


def test_what_a_server_that_died_left_is_removed_but_nothing_young(
    sent, services, slide_bytes, monkeypatch
):
    house, client, _ = sent
    slide_id = upload(client, house.case_id, slide_bytes).json()["id"]
    top = services.settings.data_dir / "uploads"
    (top / INCOMING / "1234").write_bytes(b"half")
    (top / "5678").mkdir()
    (top / "5678" / "slide.tif").write_bytes(b"of no slide")
    services.library.sweep()
    assert len(left(services)) == 3
    monkeypatch.setattr(uploads_module, "FORSAKEN_S", -1.0)
    services.library.sweep()
    assert left(services) == [f"{slide_id}/slide.tif"]


def test_uploads_stay_where_the_database_knows_no_slide(services, monkeypatch, caplog):
    top = services.settings.data_dir / "uploads"
    (top / "5678").mkdir()
    (top / "5678" / "slide.tif").write_bytes(b"of another database")
    monkeypatch.setattr(uploads_module, "FORSAKEN_S", -1.0)
    caplog.set_level(logging.WARNING)
    services.library.sweep()
    assert left(services) == ["5678/slide.tif"]
    (line,) = (r.getMessage() for r in caplog.records if r.name == uploads_module.__name__)
    assert "1 uploads" in line and "5678" not in line


def test_slides_of_folders_are_chosen_by_opaque_ids(sent, tmp_path):
    house, client, asked = sent
    (house.folder / "below" / ".hidden").mkdir(parents=True)
    for name in ("a.tif", "below/b.tif", "below/.hidden/c.tif", "below/notes.txt"):
        write_jpeg_pyramid(house.folder / name)
    outside = write_jpeg_pyramid(tmp_path / "outside.tif")
    (house.folder / "link.tif").symlink_to(outside)
    (house.folder / "folder").symlink_to(tmp_path)
    listed = client.get("/folders").json()
    names = [entry["name"] for entry in listed["entries"]]
    assert names == ["glass/a.tif", "glass/below/b.tif", "glass/link.tif"]
    assert [e["name"] for e in client.get("/folders?query=BELOW").json()["entries"]] == names[1:2]
    assert client.get("/folders?limit=1").json()["total"] == 3
    path = f"/cases/{house.case_id}/slides/from-folder"
    ids = {entry["name"]: entry["id"] for entry in listed["entries"]}
    added = client.post(path, json={"entry": ids["glass/below/b.tif"], "block": "A1"})
    assert added.status_code == 201
    info = client.get(f"/slides/{added.json()['id']}/info").json()
    assert (info["name"], info["block"], info["width0"]) == ("b.tif", "A1", 900)
    assert asked == [added.json()["id"]]
    assert client.post(path, json={"entry": ids["glass/link.tif"]}).status_code == 422
    for wrong in ("0" * 32, "../outside.tif", "", "glass/a.tif", 5):
        assert client.post(path, json={"entry": wrong}).status_code in (404, 422)


def test_masks_beside_slides_are_none_and_new_files_are_seen_when_asked_for(sent):
    house, client, _ = sent
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)

    def listed(query: str = "") -> set[str]:
        entries = client.get(f"/folders{query}").json()["entries"]
        return {entry["name"].removeprefix("glass/") for entry in entries}

    listed()
    picture.save(house.folder / "p7.png")
    picture.save(house.folder / "p7.jpg")
    picture.convert("RGBA").save(house.folder / "p7.rgba.png")
    picture.convert("L").save(house.folder / "p7.mask.png")
    picture.convert("P").save(house.folder / "p7.labels.png")
    picture.convert("1").save(house.folder / "p7.bits.png")
    picture.convert("L").save(house.folder / "p7.mask.jpg")
    (house.folder / "notes.png").write_text("Zhang San")
    (house.folder / "empty.jpg").touch()
    os.mkfifo(house.folder / "pipe.png")
    (house.folder / "link.png").symlink_to(house.folder / "p7.png")
    assert not {name for name in listed() if name.startswith("p7")}, "a listing is kept"
    assert listed("?anew=true") >= {"p7.png", "p7.jpg", "p7.rgba.png", "link.png"}
    assert not listed() & {
        *("p7.mask.png", "p7.labels.png", "p7.bits.png", "p7.mask.jpg"),
        *("notes.png", "empty.jpg", "pipe.png"),
    }


def test_likely_masks_are_marked_and_come_last_but_none_is_hidden(sent):
    house, client, _ = sent
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    labels = np.zeros((300, 300, 3), np.uint8)
    labels[100:200, 50:90] = (255, 0, 0)
    lzw, jpeg = ({"compression": name} for name in ("lzw", "jpeg"))
    Image.fromarray(labels).save(house.folder / "a.labels.png")
    Image.fromarray(noise).save(house.folder / "b.scan.png")
    tifffile.imwrite(house.folder / "c.labels.tif", labels, **lzw, photometric="rgb")
    tifffile.imwrite(house.folder / "d.scan.tiff", noise, **lzw, photometric="rgb")
    tifffile.imwrite(house.folder / "e.empty-glass.tif", labels, **jpeg, photometric="rgb")
    tifffile.imwrite(house.folder / "f.grey.tif", noise[..., 0], photometric="minisblack")
    planes = np.moveaxis(noise, 2, 0)
    tifffile.imwrite(house.folder / "g.planes.ome.tif", planes, photometric="minisblack")
    (house.folder / "h.broken.tif").write_bytes(b"II*\0" + b"\xff" * 60)
    write_jpeg_pyramid(house.folder / "i.tif")
    listed = client.get("/folders?anew=true").json()
    signs = {e["name"].removeprefix("glass/"): e["sign"] for e in listed["entries"]}
    assert {name for name, sign in signs.items() if sign == "flat"} == {
        "a.labels.png",
        "c.labels.tif",
    }
    assert {name for name, sign in signs.items() if sign == "grey"} == {"f.grey.tif"}
    assert len(signs) == 9 and list(signs)[-3:] == ["a.labels.png", "c.labels.tif", "f.grey.tif"]
    assert listed["cut"] == [] and listed["hint"] == ""


def test_a_folder_that_is_too_large_to_be_listed_whole_is_named(sent, monkeypatch):
    house, client, _ = sent
    for number in range(6):
        (house.folder / f"{number}.svs").write_bytes(b"a slide")
    monkeypatch.setattr(entries_module, "MAX_LOOKED_AT", 4)
    told = client.get("/folders?anew=true&query=5").json()
    assert (told["entries"], told["cut"]) == ([], ["glass"])
    assert "smaller folders" in told["hint"]
    names = [entry["name"] for entry in client.get("/folders").json()["entries"]]
    assert names == [f"glass/{number}.svs" for number in range(4)], "as many as were looked at"
    monkeypatch.setattr(entries_module, "MAX_LOOKED_AT", 6)
    assert client.get("/folders?anew=true").json()["cut"] == []


def test_the_servers_folders_are_for_those_who_may_add(sent, join, client):
    assert client.get("/folders").status_code == 401
    assert join("reader").get("/folders").status_code == 403


def test_ids_of_entries_stay_when_the_server_is_started_again(sent, services):

    house, _, _ = sent
    write_jpeg_pyramid(house.folder / "a.tif")
    again = Entries(services.library.folders, services.settings.data_dir / "folders.key")
    other = Entries(services.library.folders, services.settings.data_dir / "other.key")
    assert services.entries.list() == again.list() != other.list()


def test_several_uploads_at_once_are_all_there(sent, services, slide_bytes):
    house, client, _ = sent
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: upload(client, house.case_id, slide_bytes), range(6)))
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len(left(services)) == 6
