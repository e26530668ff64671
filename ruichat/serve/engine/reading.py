"""Slides are read once for all who wait for them, a few at a time, and only while somebody does."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ruichat.chat.reading import Clock, ReadSlide, is_encoded, read_slide
from ruichat.errors import BrokenDecoderError, ModelError, NotFoundError, RuiChatError
from ruichat.serve.engine.gate import Gate
from ruichat.serve.engine.loading import LoadedModel
from ruichat.serve.engine.memory import Memory, View
from ruichat.serve.engine.pixels import LentPixels

if TYPE_CHECKING:
    from ruichat.chat.backend import Backend
    from ruichat.slide.slide import Slide

log = logging.getLogger(__name__)

QUEUED = "queued"
"""Stage of a slide that waits until others are encoded."""

OPENED_AT_ONCE = 2
"""Slides whose bags are kept already and that are read back at the same time."""

TELL_S = 0.2
"""Seconds between two reports of the same stage; ours, faster than a person reads."""


@runtime_checkable
class Slides(Protocol):
    """Where slides come from."""

    def open(self, slide_id: str) -> AbstractContextManager[Slide]:
        """An open slide for as long as the context lasts."""
        ...


@runtime_checkable
class Watcher(Protocol):
    """Who waits for a slide; called from the reading thread."""

    @property
    def user_id(self) -> str:
        """On whose behalf."""
        ...

    def progress(self, slide_id: str, stage: str, done: int, total: int) -> None:
        """How far it is."""
        ...

    def ready(self, slide_id: str, read: ReadSlide) -> None:
        """It has been read."""
        ...

    def failed(self, slide_id: str, error: RuiChatError) -> None:
        """It can't be read."""
        ...


class _Unwanted(Exception):
    """Nobody waits for the slide any more."""


@dataclass(eq=False)
class _Job:
    slide_id: str
    user_id: str
    watchers: list[Watcher]
    last: tuple[str, int, int] = ("slide", 0, 0)
    told_at: float = 0.0

    def check(self) -> None:
        if not self.watchers:
            raise _Unwanted


class SlideReader:
    """Reads slides in threads of its own.

    Args:
        slides: gives open slides.
        model: waited for in a reading thread.
        memory: keeps what was read.
        at_once: slides that are encoded at the same time.
    """

    def __init__(self, slides: Slides, model: LoadedModel, memory: Memory, *, at_once: int) -> None:
        self._slides, self._model, self._memory = slides, model, memory
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}
        self._opening, self._encoding = Gate(OPENED_AT_ONCE), Gate(at_once)

    @property
    def num_reading(self) -> int:
        """Slides that are being read or wait for it."""
        return len(self._jobs)

    def want(self, slide_id: str, watcher: Watcher) -> None:
        """Have a slide read, unless it is; the watcher is told, perhaps before this returns."""
        with self._lock:
            job = self._jobs.get(slide_id)
            read = None if job else self._memory.get(View(slide_id))
            if job is not None:
                job.watchers.append(watcher)
            elif read is None:
                job = _Job(slide_id, watcher.user_id, [watcher])
                self._jobs[slide_id] = job
                threading.Thread(target=self._run, args=(job,), name="read", daemon=True).start()
        if read is not None:
            watcher.ready(slide_id, read)
        elif job is not None:
            watcher.progress(slide_id, *job.last)

    def leave(self, slide_id: str, watcher: Watcher) -> None:
        """The watcher waits no longer; a slide that nobody waits for isn't read on."""
        with self._lock:
            job = self._jobs.get(slide_id)
            if job is None or watcher not in job.watchers:
                return
            job.watchers.remove(watcher)
            if not job.watchers:
                # Whoever wants it from now on starts afresh, after the last finished shard.
                del self._jobs[slide_id]

    def drop(self, slide_id: str) -> None:
        """Read a slide no further that was removed or changed; who waits for it is told."""
        with self._lock:
            job = self._jobs.pop(slide_id, None)
            watchers = [] if job is None else list(job.watchers)
            if job is not None:
                job.watchers.clear()
        for watcher in watchers:
            watcher.failed(slide_id, NotFoundError("the slide was removed or changed meanwhile"))

    def _run(self, job: _Job) -> None:
        """Read one slide and tell everybody, also what went wrong."""
        read, error = None, None
        try:
            read = self._read(job)
        except _Unwanted:
            return
        except RuiChatError as problem:
            error = problem
        except Exception as problem:
            where = "".join(traceback.format_tb(problem.__traceback__))
            log.error("slide %s: %s\n%s", job.slide_id, type(problem).__name__, where)
            error = ModelError("the slide couldn't be read", hint="See the server's log")
        with self._lock:
            if self._jobs.get(job.slide_id) is not job:
                return  # nobody waits any more, and the slide may be gone
            del self._jobs[job.slide_id]
            watchers = list(job.watchers)
            if read is not None:
                self._memory.keep(View(job.slide_id), read)
        for watcher in watchers:
            if read is not None:
                watcher.ready(job.slide_id, read)
            elif error is not None:
                watcher.failed(job.slide_id, error)

    def _read(self, job: _Job) -> ReadSlide:
        if self._model.status.backend is None:
            self._report(job, "model", 0, 0)
        backend = self._model.get()
        try:
            return self._read_once(job, backend)
        except BrokenDecoderError:  # whoever else reads the slide may have brought it down
            return self._read_once(job, backend)

    def _read_once(self, job: _Job, backend: Backend) -> ReadSlide:
        with self._opening.enter(job.user_id, job.check), self._slides.open(job.slide_id) as slide:
            if is_encoded(slide, backend):
                return self._tell(job, slide, backend)
        self._report(job, QUEUED, 0, 0)
        with self._encoding.enter(job.user_id, job.check), self._slides.open(job.slide_id) as slide:
            return self._tell(job, slide, backend)

    def _tell(self, job: _Job, slide: Slide, backend: Backend) -> ReadSlide:
        def progress(stage: str, done: int, total: int) -> None:
            job.check()
            self._report(job, stage, done, total)

        pixels = LentPixels.of(slide, lambda: self._slides.open(job.slide_id))
        return read_slide(slide, backend, clock=Clock(progress), pixels=pixels)

    def _report(self, job: _Job, stage: str, done: int, total: int) -> None:
        now, before = time.monotonic(), job.last[0]
        if stage == before and done < total and now - job.told_at < TELL_S:
            return
        job.last, job.told_at = (stage, done, total), now
        with self._lock:
            watchers = list(job.watchers)
        for watcher in watchers:
            watcher.progress(job.slide_id, stage, done, total)
