"""Work on slides that goes on in the background, and how far it has come."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.orm import Session

from ruichat.errors import NotFoundError
from ruichat.storage.database.cases import get_case, visible_cases
from ruichat.storage.database.columns import new_id, now
from ruichat.storage.database.models import Job, Slide
from ruichat.storage.database.slides import get_slide

UNFINISHED = ("queued", "running")


def queue_job(session: Session, *, user_id: str, slide_id: str, kind: str) -> Job:
    """Ask for work on a slide.

    Returns:
        The job; the one that is under way where there is one of that kind already.

    Raises:
        NotFoundError: there is no such slide for the user.
    """
    get_slide(session, slide_id, user_id=user_id)
    insert = insert_sqlite if session.get_bind().dialect.name == "sqlite" else insert_postgresql
    row = {
        "id": new_id(),
        "slide_id": slide_id,
        "kind": kind,
        "state": "queued",
        "stage": "",
        "done": 0,
        "total": 0,
        "created_at": now(),
        "updated_at": now(),
    }
    # Two who ask at once get the same job: the index of unfinished jobs lets only one in.
    session.execute(insert(Job).values(row).on_conflict_do_nothing())
    under_way = select(Job).where(
        Job.slide_id == slide_id, Job.kind == kind, Job.state.in_(UNFINISHED)
    )
    return session.scalars(under_way).one()


def get_job(session: Session, job_id: str, *, user_id: str) -> Job:
    """One job.

    Raises:
        NotFoundError: there is none, or the user may not see it.
    """
    seen = select(Slide.id).where(Slide.case_id.in_(visible_cases(user_id)))
    job = session.scalar(select(Job).where(Job.id == job_id, Job.slide_id.in_(seen)))
    if job is None:
        raise NotFoundError("there is no such job")
    return job


def list_jobs(session: Session, slide_id: str, *, user_id: str) -> Sequence[Job]:
    """The jobs of a slide, oldest first.

    Raises:
        NotFoundError: there is no such slide for the user.
    """
    get_slide(session, slide_id, user_id=user_id)
    wanted = select(Job).where(Job.slide_id == slide_id)
    return session.scalars(wanted.order_by(Job.created_at, Job.id)).all()


def list_unfinished(session: Session, case_id: str, *, user_id: str) -> Sequence[Job]:
    """The jobs of a case's slides that wait or run, oldest first.

    Raises:
        NotFoundError: there is no such case for the user.
    """
    get_case(session, case_id, user_id=user_id)
    own = select(Slide.id).where(Slide.case_id == case_id)
    wanted = select(Job).where(Job.slide_id.in_(own), Job.state.in_(UNFINISHED))
    return session.scalars(wanted.order_by(Job.created_at, Job.id)).all()


def advance_job(
    session: Session, job_id: str, *, stage: str, done: int = 0, total: int = 0
) -> bool:
    """Note that a job runs, and how far it has come.

    Returns:
        Whether it is still wanted: not once it was cancelled or its slide deleted.
    """
    return _change(session, job_id, state="running", stage=stage, done=done, total=total)


def finish_job(session: Session, job_id: str, *, error: str | None = None) -> bool:
    """Note that a job has ended, well or with an error.

    Returns:
        Whether it was still wanted.
    """
    return _change(session, job_id, state="done" if error is None else "failed", error=error)


def cancel_job(session: Session, job_id: str, *, user_id: str) -> bool:
    """Ask a job to stop.

    Returns:
        Whether it was unfinished until now.

    Raises:
        NotFoundError: there is no such job for the user.
    """
    get_job(session, job_id, user_id=user_id)
    return _change(session, job_id, state="cancelled")


def free_slide(session: Session, slide_id: str) -> None:
    """Call a slide new again that is said to be read, where no job is left that reads it."""
    going = select(Job.id).where(Job.slide_id == slide_id, Job.state.in_(UNFINISHED))
    wanted = Slide.id == slide_id, Slide.state == "reading", ~going.exists()
    session.execute(update(Slide).where(*wanted).values(state="new"))


def claim_job(session: Session, job_id: str, *, silent_s: float) -> bool:
    """Take a job for this process, unless another one works on it.

    Args:
        silent_s: seconds without a word from a process after which it no longer does.

    Returns:
        Whether it is this process's now; of two that try at once, one's.
    """
    return bool(_claim(session, Job.id == job_id, or_(Job.state == "queued", _silent(silent_s))))


def claim_left_jobs(session: Session, *, kind: str, silent_s: float) -> Sequence[Job]:
    """Take the unfinished jobs of a kind that no process works on any more.

    Returns:
        The jobs, oldest first, to be begun anew.
    """
    claimed = _claim(session, Job.kind == kind, _silent(silent_s))
    wanted = select(Job).where(Job.id.in_(claimed)).order_by(Job.created_at, Job.id)
    return session.scalars(wanted).all()


def keep_jobs(session: Session, job_ids: Collection[str]) -> None:
    """Say that this process still works on jobs, or waits to."""
    wanted = Job.id.in_(job_ids), Job.state.in_(UNFINISHED)
    session.execute(update(Job).where(*wanted).values(updated_at=now()))


def release_jobs(session: Session, job_ids: Collection[str]) -> None:
    """Leave jobs to whichever process comes next."""
    wanted = Job.id.in_(job_ids), Job.state.in_(UNFINISHED)
    session.execute(update(Job).where(*wanted).values(state="queued", updated_at=_LONG_AGO))


_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def _silent(silent_s: float) -> ColumnElement[bool]:
    return Job.updated_at < now() - timedelta(seconds=silent_s)


def _claim(session: Session, *wanted: ColumnElement[bool]) -> list[str]:
    claimed = session.scalars(
        update(Job)
        .where(Job.state.in_(UNFINISHED), *wanted)
        .values(state="running", stage="", done=0, total=0, updated_at=now())
        .returning(Job.id)
    )
    return list(claimed)


def _change(session: Session, job_id: str, **values: object) -> bool:
    changed = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state.in_(UNFINISHED))
        .values(updated_at=now(), **values)
        .returning(Job.id)
    )
    return changed.one_or_none() is not None
