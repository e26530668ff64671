"""Files that people send: streamed to disk, whole or not at all, each in a folder of its own."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import Callable, Generator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ruichat.errors import ArtifactError, InputError, StorageFullError
from ruichat.serve.problems import TooLargeError
from ruichat.slide.opening import slide_suffixes

log = logging.getLogger(__name__)

INCOMING = ".incoming"
"""Folder of files that are still being sent."""

FORSAKEN_S = 86_400.0
"""An unfinished file that nobody wrote to for so long is left over from a server that died."""

SEVERAL_FILES = frozenset({".mrxs", ".vms", ".vmu"})
"""Slides of several files, which come through a folder of the server."""

MAX_FIELD_BYTES = 1000
"""Of a form's text fields: stain and block are short words."""

MAX_PARTS = 8

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Incoming:
    """One file on its way to the disk.

    Args:
        uploads: folder of uploaded slides.
        slide_id: of the slide that it becomes.
        max_bytes: most that is taken.

    Raises:
        StorageFullError: there is no room to begin with.
    """

    def __init__(self, uploads: Path, slide_id: str, max_bytes: int) -> None:
        self._uploads, self._slide_id, self._max_bytes = uploads, slide_id, max_bytes
        self._part = uploads / INCOMING / slide_id
        self.num_bytes = 0
        with _told():
            self._part.parent.mkdir(mode=0o700, exist_ok=True)
            self._file: BinaryIO = os.fdopen(os.open(self._part, _NEW, 0o600), "wb")

    def write(self, data: bytes) -> None:
        """Append to the file.

        Raises:
            TooLargeError: it is larger than allowed.
            StorageFullError: the disk is full.
        """
        self.num_bytes += len(data)
        if self.num_bytes > self._max_bytes:
            raise TooLargeError(
                f"the file has more than {self._max_bytes} bytes, which is what may be sent",
                hint="Ask the operator to put it into a folder of slides",
            )
        with _told():
            self._file.write(data)

    def finish(self, suffix: str) -> Path:
        """Give the file its place, durably.

        Raises:
            StorageFullError: the disk is full.
            InputError: nothing was sent.
        """
        if self.num_bytes == 0:
            raise InputError("the file that was sent is empty", hint="Send a slide file")
        with _told():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            place = self._uploads / self._slide_id / f"slide{suffix}"
            place.parent.mkdir(mode=0o700)
            self._part.replace(place)
            for folder in (place.parent, self._uploads):
                _sync(folder)
        return place

    def discard(self) -> None:
        """Remove what has come so far, or what `finish` has put in place."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._part.unlink(missing_ok=True)
        shutil.rmtree(self._uploads / self._slide_id, ignore_errors=True)


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class SlideForm:
    """A multipart form with one file, taken apart as it comes.

    Args:
        content_type: header of the request.
        begin: makes room for the file; called once its name is known to be one of a slide.

    Attributes:
        file_name: as the sender calls it, without folders; "" until the file has begun.
        fields: the form's texts.

    Raises:
        InputError: it is no such form.
    """

    def __init__(self, content_type: str, begin: Callable[[], Incoming]) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
            raise InputError(
                "a slide comes as multipart/form-data with one file", hint="Use the page's upload"
            )
        self.file_name = ""
        self.fields: dict[str, str] = {}
        self.incoming: Incoming | None = None
        self.is_complete = False
        self._begin = begin
        self._header: list[bytes] = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None
        self._text = b""
        self._num_parts = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._start_part,
                "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._start_data,
                "on_part_data": lambda data, start, end: self._take(data[start:end]),
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, data: bytes) -> None:
        """The next bytes of the request's body.

        Raises:
            InputError: they are no such form, or the file is no slide.
            TooLargeError, StorageFullError: see `Incoming`.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InputError("the form that was sent is damaged", hint="Send it again") from error

    @property
    def suffix(self) -> str:
        """Of the file's name, lower case, with its dot."""
        return PurePosixPath(self.file_name).suffix.lower()

    def _start_part(self) -> None:
        self._num_parts += 1
        if self._num_parts > MAX_PARTS:
            raise InputError(f"the form has more than {MAX_PARTS} parts", hint="Send one file")
        self._headers, self._field, self._text = {}, None, b""

    def _add(self, which: int, data: bytes) -> None:
        self._header[which] += data

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = [b"", b""]

    def _start_data(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            self._field = name
            return
        if self.incoming is not None:
            raise InputError("more than one file was sent", hint="Send one file at a time")
        self.file_name = bare_name(options[b"filename"].decode("utf-8", "replace"))
        check_suffix(self.suffix)
        self.incoming = self._begin()

    def _take(self, data: bytes) -> None:
        if self._field is None:
            assert self.incoming is not None
            self.incoming.write(data)
            return
        self._text += data
        if len(self._text) > MAX_FIELD_BYTES:
            raise InputError(f"a field of the form has more than {MAX_FIELD_BYTES} bytes")

    def _end_part(self) -> None:
        if self._field is not None:
            self.fields[self._field] = self._text.decode("utf-8", "replace")

    def _end(self) -> None:
        self.is_complete = True


def bare_name(given: str) -> str:
    """A sender's name for a file, without folders and what can't be printed; only ever shown."""
    last = PureWindowsPath(PurePosixPath(given).name).name
    return "".join(letter for letter in last if letter.isprintable())[-200:]


def check_suffix(suffix: str) -> None:
    """Refuse files that aren't a slide by their name.

    Raises:
        InputError: says what is taken.
    """
    if suffix in SEVERAL_FILES:
        raise InputError(
            f"{suffix} slides consist of several files, which can't be sent as one",
            hint="Ask the operator to put the slide into a folder of slides",
        )
    known = sorted((slide_suffixes() | {".dcm"}) - SEVERAL_FILES)
    if suffix not in known:
        raise InputError(
            f"files ending in {suffix[:20]!r} are no slides", hint=f"Taken are {', '.join(known)}"
        )


def remove_forsaken(uploads: Path, known: frozenset[str]) -> int:
    """Remove what servers that died have left: unfinished files, and those of no slide.

    Args:
        uploads: folder of uploaded slides.
        known: ids of slides; their files stay.

    Returns:
        How many were removed. Young ones stay: another server may be writing them. All stay where
        no slide is known: the database is then rather the wrong one than the files left over.
    """
    if not known:
        if num_kept := sum(place.name != INCOMING for place in uploads.iterdir()):
            log.warning(
                "the database holds no slides, but there are %d uploads; they stay: is it the "
                "right database?",
                num_kept,
            )
        return 0
    limit = time.time() - FORSAKEN_S
    num = 0
    for place in (*uploads.glob(f"{INCOMING}/*"), *uploads.iterdir()):
        try:
            is_young = place.stat().st_mtime > limit
        except FileNotFoundError:
            continue
        if place.name in known or place.name == INCOMING or is_young:
            continue
        shutil.rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink()
        num += 1
    return num


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _told() -> Generator[None]:
    """Errors of the file system as ours."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFullError(
                "the disk is full: the slide was not saved",
                hint="Ask the operator to free some space, then send it again",
            ) from error
        raise ArtifactError(
            f"the slide can't be saved ({error.strerror})", hint="Ask the operator to look"
        ) from error
