"""From a slide's id to the open slide: the only place of the server that knows where files lie."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ruichat.errors import BrokenDecoderError, InputError, NotFoundError
from ruichat.serve.settings import ServeSettings
from ruichat.serve.slides.folders import UPLOADS, Folders
from ruichat.serve.slides.pool import SlidePool
from ruichat.serve.slides.uploads import remove_forsaken
from ruichat.slide.opening import open_slide
from ruichat.slide.slide import Slide
from ruichat.storage.database import slides as rows
from ruichat.storage.database.connect import Database

ID = re.compile(r"[0-9a-f]{32}")

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_WORKING = 4
"""Slides open for long work at once, each in a process."""


@dataclass(frozen=True, slots=True)
class SlidePlace:
    """What it takes to open a slide.

    Attributes:
        path: of its file or DICOM folder, checked.
        mpp: micrometres per pixel that a person gave, for files that state none.
        is_known: whether the database knows what opening it tells.
    """

    path: Path
    mpp: float | None
    is_known: bool = True


class SlideLibrary:
    """The slides of all cases; access is checked by whoever asks.

    Args:
        settings: which folders hold slides.
        database: which file is which slide.
        pool: of slides open for looking at; of the usual size if None.
    """

    def __init__(
        self, settings: ServeSettings, database: Database, *, pool: SlidePool | None = None
    ) -> None:
        self.folders = Folders(settings.slide_folders, settings.data_dir / "uploads")
        self.overlays_folder = settings.data_dir / "overlays"
        self._database = database
        self._pool = pool or SlidePool()
        self._work_pool = SlidePool(max_open=MAX_WORKING)
        self._versions: dict[str, str] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all slides."""
        self._pool.close()
        self._work_pool.close()

    def place(self, slide_id: str) -> SlidePlace:
        """Where a slide lies, and its resolution if a person gave it.

        Raises:
            NotFoundError: there is no such slide, or its file is gone.
            InputError: it failed before, or leads outside its folder.
        """
        with self._database.session() as session:
            row = rows.any_slide(session, slide_id)
            if row.state == "failed":
                raise InputError(
                    row.error or "the slide can't be read", hint="Remove it, and add it again"
                )
            root, path, mpp, is_known = row.root, row.path, row.given_mpp, row.mpp is not None
        return SlidePlace(self.folders.resolve(root, path), mpp, is_known)

    def slide_path(self, slide_id: str) -> Path:
        """Where a slide lies; see `place`."""
        return self.place(slide_id).path

    def version(self, slide_id: str) -> str | None:
        """A name for the slide's content that changes with its file; None before it was opened."""
        return self._versions.get(slide_id)

    @contextmanager
    def open(self, slide_id: str) -> Generator[Slide]:
        """The slide for long work, in a process that those who look at it don't wait for.

        Raises:
            NotFoundError, InputError: see `place`; or the file can't be opened.
            BusyError: too many other slides are being read.
        """
        with self._lease(self._work_pool, slide_id) as slide:
            yield slide

    def read(self, slide_id: str, work: Callable[[Slide], T]) -> T:
        """Do something short; once more with a new process if the slide's own died of it.

        Raises:
            InputError: the slide is damaged. One that breaks its decoder twice is marked as failed.
        """
        try:
            return self._work(slide_id, work)
        except BrokenDecoderError:
            pass
        try:
            return self._work(slide_id, work)
        except BrokenDecoderError as error:
            self._mark_failed(slide_id, error)
            raise

    def forget(self, slide_id: str) -> None:
        """Have a slide opened anew, after something about it has changed or it was deleted.

        What the server keeps of a slide that was deleted goes: its file, if it was sent, and what
        was found on it.
        """
        self._pool.drop(slide_id)
        self._work_pool.drop(slide_id)
        with self._lock:
            self._versions.pop(slide_id, None)
        try:
            with self._database.session() as session:
                rows.any_slide(session, slide_id)
        except NotFoundError:
            self._remove(slide_id)

    def _remove(self, slide_id: str) -> None:
        assert ID.fullmatch(slide_id), "ids are the server's own"
        shutil.rmtree(self.folders.roots[UPLOADS] / slide_id, ignore_errors=True)
        for kept in self.overlays_folder.glob(f"{slide_id}-*"):
            kept.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what servers that died have left of slides that never came to be."""
        with self._database.session() as session:
            known = frozenset(slide_id for slide_id, _, _ in rows.list_files(session))
        num = remove_forsaken(self.folders.roots[UPLOADS], known)
        if num:
            log.info("removed %d unfinished uploads", num)

    def _work(self, slide_id: str, work: Callable[[Slide], T]) -> T:
        with self._lease(self._pool, slide_id) as slide:
            return work(slide)

    @contextmanager
    def _lease(self, pool: SlidePool, slide_id: str) -> Generator[Slide]:
        with pool.lease(slide_id, lambda: self._open(slide_id)) as slide:
            try:
                yield slide
            except BrokenDecoderError:
                pool.drop(slide_id, slide)
                raise

    def _open(self, slide_id: str) -> Slide:
        place = self.place(slide_id)
        slide = open_slide(place.path, mpp=place.mpp)
        if not place.is_known:
            with self._database.session() as session:
                rows.record_slide(session, slide_id, **known_of(slide))
        with self._lock:
            self._versions[slide_id] = _version(place)
        return slide

    def _mark_failed(self, slide_id: str, error: InputError) -> None:
        self.forget(slide_id)
        with self._database.session() as session:
            rows.record_slide(session, slide_id, state="failed", error=error.message)


def known_of(slide: Slide) -> dict[str, Any]:
    """What the database keeps of an open slide."""
    return {
        "width0": slide.width0,
        "height0": slide.height0,
        "mpp": slide.mpp.value,
        "mpp_source": slide.mpp.source,
        "warnings": list(slide.warnings),
        "error": None,
    }


def _version(place: SlidePlace) -> str:
    """Of the file's identity, size and time: reading it all for a digest takes too long."""
    stat = os.stat(place.path)
    known = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, place.mpp)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]
