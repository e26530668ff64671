"""Whether a TIFF file is all there: decoders open a truncated one and quietly miss its pages."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ruichat.errors import InputError

OFFSETS = frozenset({273, 324})
COUNTS = frozenset({279, 325})
"""Where strips or tiles lie, and how long they are."""

NDPI = 65420
"""Marks Hamamatsu files, whose offsets beyond 4 GB are written in a way of their own."""

MAX_DIRECTORIES = 10_000

_TYPES = {3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes of the two kinds of TIFF: classic and BigTIFF."""

    order: str
    offset: str
    count: str
    entry: int

    @property
    def width(self) -> int:
        return struct.calcsize(self.offset)


class _TooShortError(Exception):
    """The file ends before something that it promises."""


def check_whole(path: Path) -> None:
    """Refuse a TIFF whose directories or pixels lie past its end; other files pass.

    Raises:
        InputError: the file is truncated or its directory is damaged.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            needed = _extent(file)
        except _TooShortError:
            needed = size + 1
    if needed > size:
        raise InputError(
            f"{path.name} is truncated or damaged: parts of it lie past its end at {size} bytes",
            hint="Copy or export the file again",
        )


def _extent(file: BinaryIO) -> int:
    """Bytes that the file should at least have, as far as its directories say."""
    head = file.read(8)
    layout = _layout(head)
    if layout is None:
        return 0
    end = 0
    seen: set[int] = set()
    if layout.width == 8:
        (position,) = struct.unpack(layout.order + "Q", _read(file, 8, 8))
    else:
        (position,) = struct.unpack(layout.order + "I", head[4:])
    while position and position not in seen and len(seen) < MAX_DIRECTORIES:
        seen.add(position)
        step, position = _directory(file, position, layout)
        if step is None:
            return 0
        end = max(end, step)
    return end


def _layout(head: bytes) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return None
    (version,) = struct.unpack(order + "H", head[2:4])
    if version == 42:
        return _Layout(order, "I", "H", 12)
    return _Layout(order, "Q", "Q", 20) if version == 43 else None


def _directory(file: BinaryIO, position: int, layout: _Layout) -> tuple[int | None, int]:
    """End of the pixels of one directory (None if it can't be judged), and the next one's place."""
    width = struct.calcsize(layout.count)
    (num,) = struct.unpack(layout.order + layout.count, _read(file, position, width))
    num = min(num, 65_535)
    entries = _read(file, position + width, num * layout.entry + layout.width)
    offsets = counts = np.zeros(0, np.uint64)
    for i in range(num):
        entry = entries[i * layout.entry : (i + 1) * layout.entry]
        tag, kind = struct.unpack(layout.order + "HH", entry[:4])
        if tag == NDPI:
            return None, 0
        if tag in OFFSETS:
            offsets = _values(file, entry, kind, layout)
        elif tag in COUNTS:
            counts = _values(file, entry, kind, layout)
    num_both = min(len(offsets), len(counts))
    ends = offsets[:num_both] + counts[:num_both]
    (following,) = struct.unpack(layout.order + layout.offset, entries[num * layout.entry :])
    return int(ends.max(initial=0)), following


def _values(file: BinaryIO, entry: bytes, kind: int, layout: _Layout) -> NDArray[np.uint64]:
    (num,) = struct.unpack(layout.order + layout.offset, entry[4 : 4 + layout.width])
    field = entry[4 + layout.width :]
    if kind not in _TYPES:
        return np.zeros(0, np.uint64)
    dtype = np.dtype(layout.order + _TYPES[kind])
    length = num * dtype.itemsize
    if length > layout.width:
        (place,) = struct.unpack(layout.order + layout.offset, field)
        field = _read(file, place, length)
    return np.frombuffer(field[:length], dtype).astype(np.uint64)


def _read(file: BinaryIO, position: int, length: int) -> bytes:
    size = os.fstat(file.fileno()).st_size
    if position + length > size:
        raise _TooShortError
    file.seek(position)
    return file.read(length)
