"""Slides in the allowed folders, as people choose them: by opaque ids, never by a path."""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruichat.errors import NotFoundError
from ruichat.serve.slides.folders import UPLOADS, Folders
from ruichat.slide.mask_signs import MaskSign, mask_sign
from ruichat.slide.opening import slide_suffixes
from ruichat.slide.plain_header import SUFFIXES, is_colour_picture
from ruichat.storage.artifacts import write_atomic

log = logging.getLogger(__name__)

KEPT_S = 10.0
"""How long a listing is believed: folders on a network are slow to list."""

MAX_LOOKED_AT = 500_000
"""Files and folders that a listing looks at in each allowed folder."""

KEY_BYTES = 32

_LOOKED_INTO = (*SUFFIXES, ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Entry:
    """One slide of an allowed folder.

    Attributes:
        id: opaque, the same as long as the file keeps its place.
        root: name of the folder.
        path: relative to it.
        sign: why it may be a mask of labels rather than a slide; "" where nothing says so.
    """

    id: str
    root: str
    path: str
    sign: MaskSign = ""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.root}/{self.path}"


@dataclass(frozen=True, slots=True)
class _Listing:
    """What the folders held; `begun` and `until` as `time.monotonic` tells, seconds."""

    entries: dict[str, Entry]
    cut: tuple[str, ...]
    begun: float
    until: float


class Entries:
    """Lists the allowed folders.

    Args:
        folders: allowed ones.
        key_file: holds the key that ids are made with; made where it is missing.

    Raises:
        ArtifactError: it can't be written.
    """

    def __init__(self, folders: Folders, key_file: Path) -> None:
        self._folders = folders
        self._key = _key(key_file)
        self._listing = _Listing({}, (), -math.inf, -math.inf)
        self._pictures: dict[tuple[str, int, int], MaskSign | None] = {}
        self._lock = threading.Lock()

    def list(self, *, anew: bool = False) -> list[Entry]:
        """All slides of all allowed folders, in the order of their names, likely masks last.

        Args:
            anew: look into the folders even if that was done a moment ago.
        """
        asked = time.monotonic()
        if not self._is_listed(asked, anew):
            with self._lock:
                # Of many who wait here at once, the first lists the folders for all others.
                if not self._is_listed(asked, anew):
                    self._listing = self._look()
        return list(self._listing.entries.values())

    @property
    def cut(self) -> tuple[str, ...]:
        """Folders with more files than were looked at, whose last listing isn't whole."""
        return self._listing.cut

    def find(self, entry_id: str) -> Entry:
        """The entry of an id.

        Raises:
            NotFoundError: there is none, or its file is gone.
        """
        found = next((e for e in self.list() if hmac.compare_digest(e.id, entry_id)), None)
        if found is None:
            raise NotFoundError(
                "there is no such slide in the server's folders", hint="List them again"
            )
        return found

    def _is_listed(self, asked: float, anew: bool) -> bool:
        listing = self._listing
        return listing.begun > asked if anew else listing.until > asked

    def _look(self) -> _Listing:
        begun = time.monotonic()
        cut: list[str] = []
        found = sorted(self._walk(cut), key=lambda e: (e.sign != "", e.root, e.path))
        entries = {entry.id: entry for entry in found}
        return _Listing(entries, tuple(cut), begun, time.monotonic() + KEPT_S)

    def _walk(self, cut: list[str]) -> Iterator[Entry]:
        """Entries of all folders; names of folders that aren't walked to their end go to `cut`."""
        for root, top in self._folders.roots.items():
            if root != UPLOADS:
                yield from self._walk_one(root, top, cut)

    def _walk_one(self, root: str, top: Path, cut: list[str]) -> Iterator[Entry]:
        known, left, num_odd = slide_suffixes(), MAX_LOOKED_AT, 0
        for folder, below, files in os.walk(top):
            visible = [name for name in below if not name.startswith(".")]
            # Names of an old archive may be in another coding than the system's: they can't be
            # sent as text, and `Folders.resolve` wouldn't take them.
            below[:] = sorted(name for name in visible if name.isprintable())
            named = sorted(name for name in files if name.isprintable())
            num_odd += len(visible) + len(files) - len(below) - len(named)
            place = Path(folder).relative_to(top)
            if place.parts and any(name.lower().endswith(".dcm") for name in named):
                yield self._entry(root, place.as_posix(), "")
            for name in named[:left]:
                is_named = Path(name).suffix.lower() in known and not name.startswith(".")
                sign = self._sign_of(Path(folder, name)) if is_named else None
                if sign is not None:
                    yield self._entry(root, (place / name).as_posix(), sign)
            left -= len(visible) + len(files)
            if left < 0:
                cut.append(root)
                log.warning("an allowed folder holds over %d files: not all listed", MAX_LOOKED_AT)
                break
        if num_odd:
            log.warning("%d names in an allowed folder can't be shown: rename them", num_odd)

    def _sign_of(self, path: Path) -> MaskSign | None:
        """Whether it may be a mask, None for what is none of our slides; each is read once."""
        if path.suffix.lower() not in _LOOKED_INTO:
            return ""
        try:
            state = path.lstat()
        except OSError:
            return None
        if not stat.S_ISREG(state.st_mode):
            # Where a link leads to is looked at when it is added.
            return "" if path.is_symlink() or path.suffix.lower() not in SUFFIXES else None
        key = (str(path), state.st_mtime_ns, state.st_size)
        if key not in self._pictures:
            if len(self._pictures) >= MAX_LOOKED_AT:
                self._pictures.clear()
            is_plain = path.suffix.lower() in SUFFIXES
            is_none = is_plain and not is_colour_picture(path)
            self._pictures[key] = None if is_none else mask_sign(path)
        return self._pictures[key]

    def _entry(self, root: str, path: str, sign: MaskSign) -> Entry:
        named = f"{root}\0{path}".encode("utf-8", "surrogateescape")
        return Entry(hmac.new(self._key, named, hashlib.sha256).hexdigest()[:32], root, path, sign)


def _key(file: Path) -> bytes:
    """The key of this server, which others of the same data folder share."""
    for _ in range(2):
        try:
            key = file.read_bytes()
        except FileNotFoundError:
            key = b""
        if len(key) == KEY_BYTES:
            return key
        write_atomic(file, secrets.token_bytes(KEY_BYTES))
    return file.read_bytes()
