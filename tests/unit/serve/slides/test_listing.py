"""Allowed folders are listed whatever names they hold, and once for all who wait."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from dicoms import Written, write_series
from house import PICTURE

from ruichat.serve.slides.entries import Entries

GBK = b"\xb2\xa1\xc0\xed"
"""Two Chinese characters as old archives spell them: no UTF-8."""


def test_names_that_are_no_text_hide_only_themselves(served, caplog):
    house, client = served
    caplog.set_level(logging.WARNING)
    (house.folder / "a.svs").write_bytes(b"a slide")
    folder = os.path.join(os.fsencode(house.folder), GBK)
    os.mkdir(folder)
    for path in (folder + b".svs", os.path.join(folder, b"b.svs")):
        with open(path, "wb") as file:
            file.write(b"a slide")
    answer = client.get("/folders?anew=true")
    assert answer.status_code == 200
    assert [entry["name"] for entry in answer.json()["entries"]] == ["glass/a.svs"]
    assert "2 names in an allowed folder can't be shown" in caplog.text


def test_many_who_want_a_new_listing_wait_for_the_same(services, monkeypatch):
    walks, walk = [], Entries._walk
    ready, going = threading.Barrier(8), threading.Event()

    def counted(self, cut):
        walks.append(cut)
        assert going.wait(20)
        return walk(self, cut)

    def ask(number):
        ready.wait(20)
        threading.Timer(0.3, going.set).start()
        return services.entries.list(anew=True)

    monkeypatch.setattr(Entries, "_walk", counted)
    with ThreadPoolExecutor(8) as people:
        assert list(people.map(ask, range(8))) == [[]] * 8
    assert len(walks) <= 2
    services.entries.list(anew=True)
    assert 2 <= len(walks) <= 3, "who comes later has the folders looked into again"


def test_a_listing_that_is_kept_is_told_while_another_is_made(services, monkeypatch):
    before = services.entries.list()
    begun, going = threading.Event(), threading.Event()

    def held(self, cut):
        begun.set()
        assert going.wait(20)
        return iter(())

    monkeypatch.setattr(Entries, "_walk", held)
    with ThreadPoolExecutor(2) as people:
        anew = people.submit(services.entries.list, anew=True)
        assert begun.wait(20)
        kept = people.submit(services.entries.list)
        try:
            assert kept.result(timeout=5) == before and not anew.done()
        finally:
            going.set()


def test_what_is_wrong_with_a_folder_is_told_without_where_it_lies(served):
    house, client = served
    for name in ("1", "2"):
        made = write_series(house.folder / name, PICTURE, Written())
        (house.folder / "glass3").mkdir(exist_ok=True)
        made.rename(house.folder / "glass3" / f"{name}.dcm")
    listed = client.get("/folders?anew=true").json()["entries"]
    (entry,) = (entry for entry in listed if entry["name"] == "glass/glass3")
    path = f"/cases/{house.case_id}/slides/from-folder"
    refused = client.post(path, json={"entry": entry["id"]})
    assert refused.status_code == 422
    assert refused.json()["error"]["message"] == "glass3 holds more than one DICOM slide"
    assert str(house.folder.parent) not in refused.text
