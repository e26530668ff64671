"""A file held open, whose parts several threads may read."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class OpenFile:
    """Bytes by position; the file's own position is of no account."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()

    def read(self, offset: int, num_bytes: int) -> bytes:
        """So many bytes from a position on; fewer at the end of the file."""
        if hasattr(os, "pread"):
            return os.pread(self._handle, num_bytes, offset)
        with self._lock:  # Windows has one position per file
            os.lseek(self._handle, offset, os.SEEK_SET)
            return os.read(self._handle, num_bytes)

    def close(self) -> None:
        """Release the file; once more does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
