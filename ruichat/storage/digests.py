"""SHA-256 of large files, computed once for as long as nobody touches them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from pathlib import Path

from ruichat.errors import ArtifactError
from ruichat.storage.artifacts import cache_dir, write_atomic

log = logging.getLogger(__name__)

WORTH_BYTES = 16 << 20
"""Smaller files are read again each time."""

SETTLED_S = 3.0
"""Since its last change, before a digest is kept: clocks of disks tick as rarely as every 2 s."""


def digest_of(path: Path) -> str:
    """SHA-256 (hex) over a file.

    That of a large file is kept in the cache, with what the system says of the file: its number,
    size, and when its content and its entry were last changed. A program can set the time of the
    content; that of the entry it can't.
    """
    before = path.stat()
    if before.st_size < WORTH_BYTES:
        return _read(path)
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    place = cache_dir() / "digests" / f"{name}.json"
    state = _state(before)
    kept = _kept(place, state)
    if kept is not None:
        return kept
    settled = time.time() - max(before.st_mtime, before.st_ctime) >= SETTLED_S
    digest = _read(path)
    if settled and _state(path.stat()) == state:
        try:
            write_atomic(place, json.dumps({"state": state, "sha256": digest}).encode())
        except ArtifactError as error:
            log.warning("%s; it is read again next time: %s", path.name, error.message)
    return digest


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(found: os.stat_result) -> list[int]:
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _kept(place: Path, state: list[int]) -> str | None:
    try:
        content = json.loads(place.read_text())
        return str(content["sha256"]) if content["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or not ours
        return None
