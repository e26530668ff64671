"""Memory that a process shares with the child that decodes for it, handed out without a copy."""

from __future__ import annotations

import math
import mmap
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ruichat.errors import PrerequisiteError
from ruichat.slide.arrays import Bytes

PAGE = 4096
"""Stretches begin on such a boundary, so that two decoders never write to one cache line."""


LEAD = 16
"""Bytes before the first pixel. libjpeg-turbo writes around the cache where rows begin on 32 bytes,
which takes it 6 % longer, and whoever wants the pixels next has to fetch them from memory."""


class Place(NamedTuple):
    """Where an array lies in shared memory, bytes: what both processes can make it from."""

    offset: int
    row: int
    """From one row of pixels to the next."""


class SharedPixels:
    """A stretch of memory from which arrays are lent until nothing refers to them any more.

    Args:
        num_bytes: how much there is; pages that nobody touches cost nothing.
        num_scratch: bytes at its end that are never lent, for pixels that are copied at once.
    """

    def __init__(self, num_bytes: int, num_scratch: int) -> None:
        self.num_bytes = num_bytes
        self._num_lendable = num_bytes - num_scratch
        self.path, self._handle = _new_file(num_bytes)
        self._map = mmap.mmap(self._handle, num_bytes)
        self._lent: dict[int, int] = {}
        self._lock = threading.Lock()
        whole = np.frombuffer(self._map, np.uint8)
        self._start: int = whole.__array_interface__["data"][0]

    @property
    def handle(self) -> int | None:
        """File descriptor that the child inherits; None where it opens `path` instead."""
        return None if self.path else self._handle

    @property
    def is_lent(self) -> bool:
        """Whether somebody still refers to an array of it."""
        return bool(self._lent)

    def lend(self, shape: tuple[int, ...]) -> Bytes | None:
        """An array of that shape, uint8; None where there is no room for it."""
        size = math.prod(shape)
        with self._lock:
            offset = self._find(LEAD + size) if size else None
            if offset is None:
                return None
            self._lent[offset] = LEAD + size
        flat = np.frombuffer(self._map, np.uint8, size, offset + LEAD)
        weakref.finalize(flat, self._lent.pop, offset).atexit = False
        return flat.reshape(shape)

    def _find(self, size: int) -> int | None:
        """First gap that is large enough: low pages stay warm."""
        end = 0
        for offset, length in sorted(self._lent.copy().items()):
            if offset - end >= size:
                return end
            end = -(-(offset + length) // PAGE) * PAGE
        return end if self._num_lendable - end >= size else None

    def scratch(self, shapes: Sequence[tuple[int, ...]]) -> list[Bytes]:
        """Arrays for as many of the shapes as there is scratch for; good until the next call."""
        arrays: list[Bytes] = []
        offset = self._num_lendable + LEAD
        for shape in shapes:
            size = math.prod(shape)
            if offset + size > self.num_bytes:
                break
            arrays.append(np.frombuffer(self._map, np.uint8, size, offset).reshape(shape))
            offset += size
        return arrays

    def place(self, out: Bytes) -> Place | None:
        """Where an array uint8 [h,w,3] lies in this memory; None where it is another's."""
        offset = int(out.__array_interface__["data"][0]) - self._start
        if not 0 <= offset < self.num_bytes or out.strides[1:] != (3, 1):
            return None
        return Place(offset, out.strides[0])

    def close(self) -> None:
        """Let go of the file; arrays that are lent stay sound."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def view(pixels: mmap.mmap, place: Sequence[int], width: int, height: int) -> Bytes:
    """The array at a place, in the other process.

    Raises:
        ValueError: it would leave the memory.
    """
    offset, row = place
    return np.ndarray((height, width, 3), np.uint8, pixels, offset, (row, 3, 1))


def _new_file(num_bytes: int) -> tuple[str, int]:
    """Path (empty where the file has none) and descriptor of a file of that size."""
    if sys.platform == "linux":
        handle, path = os.memfd_create("ruichat-pixels"), ""
    else:
        handle, path = tempfile.mkstemp(prefix="ruichat-pixels-")
    try:
        os.ftruncate(handle, num_bytes)
    except OSError as error:  # a limit on files counts for memory that is shared, too
        os.close(handle)
        raise PrerequisiteError(
            f"no {num_bytes >> 20} MB can be shared with the process that decodes slides "
            f"({error.strerror})",
            hint="Raise the limit on the size of files (ulimit -f), or free some memory",
        ) from error
    return path, handle
