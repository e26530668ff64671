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

BEAT_S = 5.0
"""Between two words of a process about its jobs, and between two looks for jobs that were left."""

SILENT_S = 30.0
"""A process that says nothing about a job for so long has left it: it was killed, or its machine
stopped. Clocks of machines that share a database have to agree better than this."""


class ReadingJobs:
    """Jobs that read slides; each goes on whether or not somebody looks on.

    Several processes may share the database: each job is one's, for as long as it says so.

    Args:
        reader: reads.
        database: keeps how far each has come.
    """

    def __init__(self, reader: SlideReader, database: Database) -> None:
        self._reader, self._database = reader, database
        self._running: dict[str, _Follower] = {}
        self._lock = threading.Lock()
        self._noting = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

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
            is_ours = jobs.claim_job(session, job_id, silent_s=SILENT_S)
        if is_ours:
            self._follow(job_id, slide_id, user_id)
        return job_id

    def cancel(self, job_id: str, user_id: str) -> bool:
        """Stop a job; False if it had ended.

        Raises:
            NotFoundError: there is no such job for the user.
        """
        with self._database.session() as session:
            slide_id = jobs.get_job(session, job_id, user_id=user_id).slide_id
            was_going = jobs.cancel_job(session, job_id, user_id=user_id)
            jobs.free_slide(session, slide_id)
        with self._lock:
            follower = self._running.pop(job_id, None)
        if follower is not None:
            self._reader.leave(slide_id, follower)
        return was_going

    def resume(self) -> None:
        """Go on with what stopped processes left unfinished, now and whenever one does.

        Parts of bags that they kept count.
        """
        self._take_left()
        self._thread = threading.Thread(target=self._beat, name="jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the jobs to the next process."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            left = list(self._running)
        if left:
            try:
                with self._noting, self._database.session() as session:
                    jobs.release_jobs(session, left)
            except RuiChatError as error:  # others take them a little later
                log.error("jobs aren't released: %s", error.message)

    def _beat(self) -> None:
        while not self._closed.wait(BEAT_S):
            try:
                with self._lock:
                    ours = list(self._running)
                if ours:
                    with self._database.session() as session:
                        jobs.keep_jobs(session, ours)
                self._take_left()
            except RuiChatError as error:  # the database may be back at the next beat
                log.error("jobs aren't looked after: %s", error.message)

    def _take_left(self) -> None:
        with self._database.session() as session:
            found = jobs.claim_left_jobs(session, kind=KIND, silent_s=SILENT_S)
            left = [(job.id, job.slide_id) for job in found]
        for job_id, slide_id in left:
            self._follow(job_id, slide_id, "")

    def _follow(self, job_id: str, slide_id: str, user_id: str) -> None:
        with self._lock:
            if job_id in self._running:
                return
            follower = self._running[job_id] = _Follower(self, job_id, slide_id, user_id)
        try:
            self._note_begun(slide_id)
        except RuiChatError as error:  # its end will be noted, or that of the next try
            log.error("job %s: its beginning isn't kept: %s", job_id, error.message)
        self._reader.want(slide_id, follower)

    def note(self, follower: _Follower, stage: str, done: int, total: int) -> None:
        """Note progress; a job that was cancelled elsewhere ends here."""
        try:
            # A note after the release would take the job back.
            with self._noting, self._database.session() as session:
                if self._closed.is_set():
                    return
                wanted = jobs.advance_job(
                    session, follower.job_id, stage=stage, done=done, total=total
                )
                if not wanted:
                    jobs.free_slide(session, follower.slide_id)
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

    def _note_begun(self, slide_id: str) -> None:
        with self._database.session() as session:
            if rows.any_slide(session, slide_id).state == "new":
                rows.record_slide(session, slide_id, state="reading")


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
