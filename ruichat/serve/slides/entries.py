"""Slides in the allowed folders, as people choose them: by opaque ids, never by a path."""

from __future__ import annotations

import hashlib
import hmac
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
from ruichat.slide.opening import slide_suffixes
from ruichat.slide.plain_header import SUFFIXES, is_colour_picture
from ruichat.storage.artifacts import write_atomic

KEPT_S = 10.0
"""How long a listing is believed: folders on a network are slow to list."""

MAX_LOOKED_AT = 500_000
"""Files and folders that a listing looks at."""

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Entry:
    """One slide of an allowed folder.

    Attributes:
        id: opaque, the same as long as the file keeps its place.
        root: name of the folder.
        path: relative to it.
    """

    id: str
    root: str
    path: str


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
        self._listed: dict[str, Entry] = {}
        self._until = 0.0
        self._pictures: dict[tuple[str, int, int], bool] = {}
        self._lock = threading.Lock()

    def list(self, *, anew: bool = False) -> list[Entry]:
        """All slides of all allowed folders, in the order of their names.

        Args:
            anew: look into the folders even if that was done a moment ago.
        """
        with self._lock:
            if anew or time.monotonic() >= self._until:
                found = sorted(self._walk(), key=lambda entry: (entry.root, entry.path))
                self._listed = {entry.id: entry for entry in found}
                self._until = time.monotonic() + KEPT_S
            return list(self._listed.values())

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

    def _walk(self) -> Iterator[Entry]:
        known = slide_suffixes()
        num = 0
        for root, top in self._folders.roots.items():
            if root == UPLOADS:
                continue
            for folder, below, files in os.walk(top):
                below.sort()
                below[:] = [name for name in below if not name.startswith(".")]
                num += len(below) + len(files)
                if num > MAX_LOOKED_AT:
                    return
                place = Path(folder).relative_to(top)
                if place.parts and any(name.lower().endswith(".dcm") for name in files):
                    yield self._entry(root, place.as_posix())
                for name in files:
                    is_named = Path(name).suffix.lower() in known and not name.startswith(".")
                    if is_named and self._may_be_slide(Path(folder, name)):
                        yield self._entry(root, (place / name).as_posix())

    def _may_be_slide(self, path: Path) -> bool:
        """Not the masks that other programs keep beside slides; each is looked into once."""
        if path.suffix.lower() not in SUFFIXES:
            return True
        try:
            state = path.lstat()
        except OSError:
            return False
        if not stat.S_ISREG(state.st_mode):
            return path.is_symlink()  # where it leads to is looked at when it is added
        key = (str(path), state.st_mtime_ns, state.st_size)
        if key not in self._pictures:
            if len(self._pictures) >= MAX_LOOKED_AT:
                self._pictures.clear()
            self._pictures[key] = is_colour_picture(path)
        return self._pictures[key]

    def _entry(self, root: str, path: str) -> Entry:
        named = f"{root}\0{path}".encode("utf-8", "surrogateescape")
        return Entry(hmac.new(self._key, named, hashlib.sha256).hexdigest()[:32], root, path)


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
