"""Reading of slides that people have asked for ahead of any question, kept in the database."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from ruichat.chat.reading import ReadSlide
from ruichat.errors import NotFoundError, RuiChatError
from ruichat.serve.engine.reading import SlideReader
from ruichat.storage.database import jobs
from ruichat.storage.database import slides as rows
from ruichat.storage.database.connect import Database

log = logging.getLogger(__name__)

KIND = "read"

NOTE_S = 1.0
"""Seconds between two notes of progress in the database; each is a durable write."""


class ReadingJobs:
    """Jobs that read slides; each goes on whether or not somebody looks on.

    Args:
        reader: reads.
        database: keeps how far each has come.
    """

    def __init__(self, reader: SlideReader, database: Database) -> None:
        self._reader, self._database = reader, database
        self._running: dict[str, _Follower] = {}
        self._lock = threading.Lock()

    def start(self, slide_id: str, user_id: str) -> str:
        """Have a slide read.

        Returns:
            Id of the job; that of the one under way where there is one.

        Raises:
            NotFoundError: there is no such slide for the user.
        """
        with self._database.session() as session:
            job = jobs.queue_job(session, user_id=user_id, slide_id=slide_id, kind=KIND)
            job_id = job.id
        self._follow(job_id, slide_id, user_id)
        return job_id

    def cancel(self, job_id: str, user_id: str) -> bool:
        """Stop a job; False if it had ended.

        Raises:
            NotFoundError: there is no such job for the user.
        """
        with self._database.session() as session:
            was_going = jobs.cancel_job(session, job_id, user_id=user_id)
        with self._lock:
            follower = self._running.pop(job_id, None)
        if follower is not None:
            self._reader.leave(follower.slide_id, follower)
            self._set_state(follower.slide_id, "new")
        return was_going

    def resume(self) -> None:
        """Go on with what a stopped server left unfinished; parts of bags that it kept count."""
        with self._database.session() as session:
            found = jobs.requeue_jobs(session, kind=KIND)
            unfinished = [(job.id, job.slide_id) for job in found]
        for job_id, slide_id in unfinished:
            self._follow(job_id, slide_id, "")

    def _follow(self, job_id: str, slide_id: str, user_id: str) -> None:
        with self._lock:
            if job_id in self._running:
                return
            follower = self._running[job_id] = _Follower(self, job_id, slide_id, user_id)
        self._set_state(slide_id, "reading")
        self._reader.want(slide_id, follower)

    def note(self, follower: _Follower, stage: str, done: int, total: int) -> None:
        """Note progress; a job that was cancelled elsewhere ends here."""
        try:
            with self._database.session() as session:
                wanted = jobs.advance_job(
                    session, follower.job_id, stage=stage, done=done, total=total
                )
        except RuiChatError as error:  # the slide is read all the same
            log.error("job %s: progress isn't kept: %s", follower.job_id, error.message)
            return
        if not wanted:
            with self._lock:
                self._running.pop(follower.job_id, None)
            self._reader.leave(follower.slide_id, follower)

    def end(self, follower: _Follower, read: ReadSlide | None, error: RuiChatError | None) -> None:
        """Note how it ended."""
        with self._lock:
            self._running.pop(follower.job_id, None)
        message = None if error is None else str(error)
        try:
            with self._database.session() as session:
                jobs.finish_job(session, follower.job_id, error=message)
                if read is not None:
                    record = read.view.record
                    rows.record_slide(
                        session,
                        follower.slide_id,
                        state="ready",
                        digest=record.digest,
                        mpp=record.mpp,
                        mpp_source=record.mpp_source,
                        error=None,
                    )
                elif rows.any_slide(session, follower.slide_id).state == "reading":
                    # It can still be looked at: only what breaks its decoder marks it as failed.
                    rows.record_slide(session, follower.slide_id, state="new", error=message)
        except NotFoundError:
            pass  # the slide was removed meanwhile, and its jobs with it
        except RuiChatError as problem:
            log.error("job %s: its end isn't kept: %s", follower.job_id, problem.message)

    def _set_state(self, slide_id: str, state: str) -> None:
        with self._database.session() as session:
            if rows.any_slide(session, slide_id).state in ("new", "reading"):
                rows.record_slide(session, slide_id, state=state)


@dataclass(eq=False)
class _Follower:
    """Writes down how far one slide is; see `reading.Watcher`."""

    jobs: ReadingJobs
    job_id: str
    slide_id: str
    user_id: str
    noted: tuple[str, float] = ("", 0.0)

    def progress(self, slide_id: str, stage: str, done: int, total: int) -> None:
        del slide_id
        now, (before, at) = time.monotonic(), self.noted
        if stage == before and done < total and now - at < NOTE_S:
            return
        self.noted = stage, now
        self.jobs.note(self, stage, done, total)

    def ready(self, slide_id: str, read: ReadSlide) -> None:
        del slide_id
        self.jobs.end(self, read, None)

    def failed(self, slide_id: str, error: RuiChatError) -> None:
        del slide_id
        self.jobs.end(self, None, error)
