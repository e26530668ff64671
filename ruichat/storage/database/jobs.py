"""Work on slides that goes on in the background, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.orm import Session

from ruichat.errors import NotFoundError
from ruichat.storage.database.cases import visible_cases
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


def requeue_jobs(session: Session, *, kind: str) -> Sequence[Job]:
    """The unfinished jobs of a kind, queued again: for a server that starts after a stop.

    Returns:
        The jobs, oldest first.
    """
    wanted = Job.kind == kind, Job.state.in_(UNFINISHED)
    session.execute(update(Job).where(*wanted).values(state="queued", stage="", done=0, total=0))
    return session.scalars(select(Job).where(*wanted).order_by(Job.created_at, Job.id)).all()


def _change(session: Session, job_id: str, **values: object) -> bool:
    changed = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state.in_(UNFINISHED))
        .values(updated_at=now(), **values)
        .returning(Job.id)
    )
    return changed.one_or_none() is not None
