"""What a server has said yes to is kept, and what it has refused leaves nothing behind."""

from __future__ import annotations

import pytest
from drawn import write_pyramid
from house import PICTURE, write_jpeg_pyramid

from ruichat.errors import DatabaseUnavailableError, StorageFullError
from ruichat.storage.database import jobs
from ruichat.storage.database import slides as rows


@pytest.fixture(params=[StorageFullError, DatabaseUnavailableError])
def unread(request, services, monkeypatch):
    """No slide can be put down for reading."""

    def refuse(slide_id, user_id):
        raise request.param("the database doesn't take the job")

    monkeypatch.setattr(services.engine, "read_slide", refuse)


def slides_of(house):
    with house.database.session() as session:
        return rows.list_slides(session, house.case_id, user_id=house.user_id)


def test_a_slide_that_is_sent_stays_where_it_can_not_be_read_ahead(
    served, services, unread, tmp_path
):
    house, client = served
    data = write_jpeg_pyramid(tmp_path / "a.tif").read_bytes()
    answer = client.post(f"/cases/{house.case_id}/slides", files={"file": ("a.tif", data)})
    assert answer.status_code == 201
    (slide,) = slides_of(house)
    assert services.library.slide_path(slide.id).read_bytes() == data
    assert client.get(f"/slides/{slide.id}/tiles/9/0_0.jpg").status_code == 200


def test_a_slide_of_a_folder_is_added_once(served, unread):
    house, client = served
    write_jpeg_pyramid(house.folder / "a.tif")
    (entry,) = client.get("/folders?anew=true").json()["entries"]
    path = f"/cases/{house.case_id}/slides/from-folder"
    assert client.post(path, json={"entry": entry["id"]}).status_code == 201
    assert len(slides_of(house)) == 1


def test_a_slide_that_can_not_be_noted_takes_its_file_along(
    served, services, monkeypatch, tmp_path
):
    def full(*given, **named):
        raise StorageFullError("the disk of the database is full")

    house, client = served
    monkeypatch.setattr(rows, "record_slide", full)
    data = write_jpeg_pyramid(tmp_path / "a.tif").read_bytes()
    answer = client.post(f"/cases/{house.case_id}/slides", files={"file": ("a.tif", data)})
    assert answer.status_code == 507
    top = services.settings.data_dir / "uploads"
    assert not [path for path in top.rglob("*") if path.is_file()] and not slides_of(house)


def test_a_change_that_is_refused_changes_nothing(served, unread):
    house, client = served
    slide_id = house.add(write_pyramid(house.folder / "a.tif", PICTURE, mpp=None))
    address = f"/api/v1/slides/{slide_id}"
    refused = client.patch(address, json={"given_mpp": 0.5, "name": "b", "position": 99})
    assert refused.status_code == 422
    slide = client.get(address).json()
    assert (slide["given_mpp"], slide["mpp"], slide["name"]) == (None, None, "a")
    for given in ({"name": "b", "position": 0}, {"stain": "HE"}):
        changed = client.patch(address, json={"given_mpp": 0.5} | given)
        assert changed.status_code == 200, changed.text
    slide = changed.json()
    assert (slide["mpp"], slide["name"], slide["stain"]) == (0.5, "b", "HE")


def test_a_slide_whose_reading_failed_is_read_again_when_that_is_asked_for(served, services):
    house, client = served
    slide_id = house.add(write_jpeg_pyramid(house.folder / "a.tif"))
    with house.database.session() as session:
        rows.record_slide(session, slide_id, state="new", error="the model can't be loaded")
    begun = client.post(f"/api/v1/slides/{slide_id}/read")
    assert (begun.status_code, begun.json()["slide_id"]) == (200, slide_id)
    of_slide = client.get(f"/api/v1/slides/{slide_id}/jobs").json()["items"]
    assert [job["id"] for job in of_slide] == [begun.json()["id"]]


def test_a_slide_whose_reading_is_cancelled_is_as_new(served, services):
    """By another process, which has not stopped yet, or never will."""
    house, client = served
    slide_id = house.add(write_jpeg_pyramid(house.folder / "a.tif"))
    with house.database.session() as session:
        job = jobs.queue_job(session, user_id=house.user_id, slide_id=slide_id, kind="read")
        assert jobs.claim_job(session, job.id, silent_s=60)
        rows.record_slide(session, slide_id, state="reading")
    cancelled = client.post(f"/api/v1/jobs/{job.id}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert house.state(slide_id) == ("new", None)


def test_a_slide_that_is_read_again_stays_so_when_an_old_job_is_cancelled(served, services):
    house, client = served
    slide_id = house.add(write_jpeg_pyramid(house.folder / "a.tif"))
    with house.database.session() as session:
        job = jobs.queue_job(session, user_id=house.user_id, slide_id=slide_id, kind="read")
        jobs.cancel_job(session, job.id, user_id=house.user_id)
        again = jobs.queue_job(session, user_id=house.user_id, slide_id=slide_id, kind="read")
        assert jobs.claim_job(session, again.id, silent_s=60)
        rows.record_slide(session, slide_id, state="reading")
    client.post(f"/api/v1/jobs/{job.id}/cancel")
    assert house.state(slide_id) == ("reading", None)


def test_the_job_that_the_page_cancels_is_left_by_its_reader(served, services, monkeypatch):
    house, client = served
    asked = []
    monkeypatch.setattr(
        services.engine.jobs, "cancel", lambda job_id, user_id: asked.append((job_id, user_id))
    )
    slide_id = house.add(write_jpeg_pyramid(house.folder / "a.tif"))
    with house.database.session() as session:
        job = jobs.queue_job(session, user_id=house.user_id, slide_id=slide_id, kind="read")
    client.post(f"/api/v1/jobs/{job.id}/cancel")
    assert asked == [(job.id, house.user_id)]
