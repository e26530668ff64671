"""Several servers on one database: each slide is read by one of them, also after one has died."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes_chat import write_two_halves
from fakes_engine import FolderSlides, held_backend, until

from ruichat.serve.engine import jobs as reading_jobs
from ruichat.serve.engine.engine import Engine
from ruichat.serve.engine.settings import EngineSettings
from ruichat.storage.database import cases, jobs, slides, users
from ruichat.storage.database.connect import Database


@pytest.fixture
def start(
    database: Database, tmp_path: Path, going: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Engine]]:
    """A server's engine; all share one database and one folder."""
    going.clear()
    monkeypatch.setattr(reading_jobs, "BEAT_S", 0.05)
    write_two_halves(tmp_path / "halves.tif")
    engines: list[Engine] = []

    def begin() -> Engine:
        here = FolderSlides(tmp_path, {"a" * 32: "halves.tif"})
        engines.append(Engine(EngineSettings(), here, held_backend, database=database))
        engines[-1].jobs.resume()
        return engines[-1]

    yield begin
    going.set()
    for engine in engines:
        engine.close()
        until(lambda engine=engine: engine.reader.num_reading == 0)


def add_slide(database: Database) -> tuple[str, str]:
    with database.session() as session:
        user_id = users.create_user(session, name="ann", role="pathologist").id
        case = cases.create_case(session, user_id=user_id, title="c")
        slides.add_slide(
            session,
            user_id=user_id,
            case_id=case.id,
            name="s",
            root="r",
            path="halves.tif",
            slide_id="a" * 32,
        )
    return user_id, "a" * 32


def state_of(database: Database, job_id: str, user_id: str) -> str:
    with database.session() as session:
        return jobs.get_job(session, job_id, user_id=user_id).state


def test_a_server_that_starts_leaves_the_jobs_of_others(
    database: Database, start: Callable[[], Engine], going: threading.Event
) -> None:
    user_id, slide_id = add_slide(database)
    one = start()
    job_id = one.read_slide(slide_id, user_id)
    until(lambda: state_of(database, job_id, user_id) == "running")
    other = start()
    assert other.read_slide(slide_id, user_id) == job_id
    threading.Event().wait(0.5)  # ten beats of either
    assert (one.reader.num_reading, other.reader.num_reading) == (1, 0)
    going.set()
    until(lambda: state_of(database, job_id, user_id) == "done")


def test_a_job_is_cancelled_at_any_server(
    database: Database, start: Callable[[], Engine], going: threading.Event
) -> None:
    user_id, slide_id = add_slide(database)
    one, other = start(), start()
    job_id = one.read_slide(slide_id, user_id)
    until(lambda: state_of(database, job_id, user_id) == "running")
    assert other.jobs.cancel(job_id, user_id)
    with database.session() as session:
        assert slides.any_slide(session, slide_id).state == "new"
    going.set()
    until(lambda: one.reader.num_reading == 0)
    assert state_of(database, job_id, user_id) == "cancelled"


def test_another_server_goes_on_with_what_one_leaves_when_it_stops(
    database: Database, start: Callable[[], Engine], going: threading.Event
) -> None:
    user_id, slide_id = add_slide(database)
    one, other = start(), start()
    job_id = one.read_slide(slide_id, user_id)
    one.close()
    until(lambda: other.reader.num_reading == 1)
    going.set()
    until(lambda: state_of(database, job_id, user_id) == "done")


def test_another_server_goes_on_with_what_a_killed_one_leaves(
    database: Database, start: Callable[[], Engine], going: threading.Event
) -> None:
    user_id, slide_id = add_slide(database)
    with database.session() as session:  # by a process that says nothing any more
        job = jobs.queue_job(session, user_id=user_id, slide_id=slide_id, kind="read")
        assert jobs.claim_job(session, job.id, silent_s=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_jobs, "SILENT_S", 0.3)
        start()
        going.set()
        until(lambda: state_of(database, job.id, user_id) == "done")
