"""Slides that are read before anybody asks: noted, cancelled, and resumed after a stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drawn import write_pyramid
from fakes_chat import write_two_halves
from fakes_engine import FolderSlides, ask, events_of, held_backend, until

from ruichat.errors import DatabaseUnavailableError, NotFoundError
from ruichat.serve.engine import jobs as reading_jobs
from ruichat.serve.engine.engine import Engine
from ruichat.serve.engine.events import Done, Failed
from ruichat.serve.engine.settings import EngineSettings
from ruichat.storage.database import cases, jobs, slides, users
from ruichat.storage.database.connect import Database, open_database
from ruichat.storage.database.models import Job, Slide


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    write_two_halves(folder / "halves.tif")
    blank = np.full((700, 700, 3), 245, np.uint8)
    write_pyramid(folder / "blank.tif", blank, mpp=0.5)
    return folder


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path / 'test.db'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def user_id(database: Database) -> str:
    with database.session() as session:
        return users.create_user(session, name="ann", role="pathologist").id


NAMES = {"a" * 32: "halves.tif", "b" * 32: "blank.tif"}


def add(database: Database, user_id: str, name: str) -> str:
    (slide_id,) = (slide_id for slide_id, file in NAMES.items() if file == name)
    with database.session() as session:
        case = cases.create_case(session, user_id=user_id, title="c")
        return slides.add_slide(
            session,
            user_id=user_id,
            case_id=case.id,
            name=name,
            root="r",
            path=name,
            slide_id=slide_id,
        ).id


def job_of(database: Database, job_id: str, user_id: str) -> Job:
    with database.session() as session:
        return jobs.get_job(session, job_id, user_id=user_id)


def slide_of(database: Database, slide_id: str) -> Slide:
    with database.session() as session:
        return slides.any_slide(session, slide_id)


@pytest.fixture
def engine(folder: Path, database: Database, going: threading.Event) -> Iterator[Engine]:
    engine = Engine(EngineSettings(), FolderSlides(folder, NAMES), held_backend, database=database)
    yield engine
    going.set()
    engine.close()
    until(lambda: engine.reader.num_reading == 0)


def test_a_slide_is_read_ahead_and_its_state_told(
    engine: Engine, database: Database, user_id: str
) -> None:
    slide_id = add(database, user_id, "halves.tif")
    job_id = engine.read_slide(slide_id, user_id)
    until(lambda: job_of(database, job_id, user_id).state == "done")
    slide = slide_of(database, slide_id)
    assert (slide.state, slide.mpp, slide.mpp_source) == ("ready", 0.5, "file")
    assert slide.digest is not None
    events = events_of(ask(engine, slide_id, "Is there tumour?"))
    assert isinstance(events[-1], Done)


def test_a_slide_without_tissue_fails_but_can_be_looked_at(
    engine: Engine, database: Database, user_id: str
) -> None:
    slide_id = add(database, user_id, "blank.tif")
    job_id = engine.read_slide(slide_id, user_id)
    until(lambda: job_of(database, job_id, user_id).state == "failed")
    assert "tissue" in (job_of(database, job_id, user_id).error or "")
    assert slide_of(database, slide_id).state == "new"


def test_who_asks_twice_gets_the_same_job_and_who_may_not_gets_none(
    engine: Engine, database: Database, user_id: str, going: threading.Event
) -> None:
    slide_id = add(database, user_id, "halves.tif")
    going.clear()
    job_id = engine.read_slide(slide_id, user_id)
    assert engine.read_slide(slide_id, user_id) == job_id
    with database.session() as session:
        other = users.create_user(session, name="bo", role="pathologist").id
    with pytest.raises(NotFoundError):
        engine.read_slide(slide_id, other)
    with pytest.raises(NotFoundError):
        engine.jobs.cancel(job_id, other)


def test_a_cancelled_job_stops_and_the_next_starts_afresh(
    engine: Engine, database: Database, user_id: str, going: threading.Event
) -> None:
    slide_id = add(database, user_id, "halves.tif")
    going.clear()
    job_id = engine.read_slide(slide_id, user_id)
    until(lambda: job_of(database, job_id, user_id).stage == "features")
    assert slide_of(database, slide_id).state == "reading"
    assert engine.jobs.cancel(job_id, user_id)
    assert engine.reader.num_reading == 0
    assert job_of(database, job_id, user_id).state == "cancelled"
    assert slide_of(database, slide_id).state == "new"
    going.set()
    again = engine.read_slide(slide_id, user_id)
    assert again != job_id
    until(lambda: job_of(database, again, user_id).state == "done")


def test_a_job_that_is_cancelled_by_another_process_leaves_its_slide_new(
    engine: Engine, database: Database, user_id: str, going: threading.Event
) -> None:
    slide_id = add(database, user_id, "halves.tif")
    going.clear()
    job_id = engine.read_slide(slide_id, user_id)
    until(lambda: job_of(database, job_id, user_id).stage == "features")
    with database.session() as session:
        jobs.cancel_job(session, job_id, user_id=user_id)
    going.set()
    until(lambda: slide_of(database, slide_id).state == "new")
    until(lambda: engine.reader.num_reading == 0)
    assert job_of(database, job_id, user_id).state == "cancelled"


def test_a_slide_is_read_also_where_its_beginning_can_not_be_noted(
    engine: Engine, database: Database, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, record = list[str](), slides.record_slide

    def once_busy(*given: object, **known: object) -> object:
        noted.append(str(known["state"]))
        if len(noted) == 1:
            raise DatabaseUnavailableError("the database is not available: it is locked")
        return record(*given, **known)  # type: ignore[arg-type]

    monkeypatch.setattr(reading_jobs.rows, "record_slide", once_busy)
    slide_id = add(database, user_id, "halves.tif")
    job_id = engine.read_slide(slide_id, user_id)
    until(lambda: job_of(database, job_id, user_id).state == "done")
    assert noted == ["reading", "ready"] and slide_of(database, slide_id).state == "ready"


def test_a_cancelled_question_does_not_stop_the_job(
    engine: Engine, database: Database, user_id: str, going: threading.Event
) -> None:
    slide_id = add(database, user_id, "halves.tif")
    going.clear()
    job_id = engine.read_slide(slide_id, user_id)
    ask(engine, slide_id, "Is there tumour?").cancel()
    assert engine.reader.num_reading == 1
    going.set()
    until(lambda: job_of(database, job_id, user_id).state == "done")


def test_a_slide_that_is_removed_is_read_no_further_and_not_kept(
    engine: Engine,
    database: Database,
    user_id: str,
    going: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    slide_id = add(database, user_id, "halves.tif")
    going.clear()
    job_id = engine.read_slide(slide_id, user_id)
    ticket = ask(engine, slide_id, "Is there tumour?")
    until(lambda: job_of(database, job_id, user_id).stage == "features")
    with database.session() as session:
        slides.delete_slide(session, slide_id, user_id=user_id)
    engine.forget_slide(slide_id)
    last = events_of(ticket)[-1]
    assert isinstance(last, Failed) and isinstance(last.error, NotFoundError)
    going.set()
    until(lambda: not any(thread.name == "read" for thread in threading.enumerate()))
    assert engine.status().num_slides == engine.status().num_reading == 0
    assert caplog.records == []


def test_a_stopped_server_goes_on_where_it_was(
    folder: Path, database: Database, user_id: str
) -> None:
    slide_id = add(database, user_id, "halves.tif")
    with database.session() as session:
        job = jobs.queue_job(session, user_id=user_id, slide_id=slide_id, kind="read")
        jobs.advance_job(session, job.id, stage="features", done=3, total=9)
        jobs.release_jobs(session, [job.id])
    engine = Engine(EngineSettings(), FolderSlides(folder, NAMES), held_backend, database=database)
    try:
        engine.jobs.resume()
        until(lambda: job_of(database, job.id, user_id).state == "done")
        assert slide_of(database, slide_id).state == "ready"
    finally:
        engine.close()
