"""One writer at a time, among processes and among machines that share a disk."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ruichat.storage.artifacts import not_written


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Generator[bool]:
    """Hold the lock whose file is `path`; the system frees it when its holder dies.

    Args:
        path: stays behind when the lock is free again: removing it would let two in.
        wait: for another holder; else go on without the lock.

    Yields:
        Whether it is held.

    Raises:
        ArtifactError: the lock's file can't be written.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise not_written(path, error) from error
    try:
        yield True
    finally:
        lock.release()
