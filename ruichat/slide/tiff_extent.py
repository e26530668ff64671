"""Whether a TIFF file is all there: decoders open a truncated one and quietly miss its pages."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.slide.geometry import MAX_SIDE0

SIDES = frozenset({256, 257, 322, 323})
"""Width and height of the image and of its tiles."""

OFFSETS, COUNTS = (273, 324), (279, 325)
"""Where strips or tiles lie, and how long they are."""

MAX_TILE_SIDE = 32_768
"""Decoders allocate whole tiles; a tile of a damaged file can ask for more than there is."""

NDPI = 65420
"""Marks Hamamatsu files, whose offsets beyond 4 GB are written in a way of their own."""

MAX_DIRECTORIES = 10_000

_Values: TypeAlias = dict[int, NDArray[np.uint64]]

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
        InputError: the file is truncated, or its directory is damaged.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            needed = max((_check_directory(path, d) for d in _directories(file)), default=0)
        except _TooShortError:
            needed = size + 1
    if needed > size:
        raise InputError(
            f"{path.name} is truncated or damaged: parts of it lie past its end at {size} bytes",
            hint="Copy or export the file again",
        )


def _check_directory(path: Path, values: _Values) -> int:
    """Bytes that the file must have for the pixels of one image."""
    for tag, limit in (
        (256, MAX_SIDE0),
        (257, MAX_SIDE0),
        (322, MAX_TILE_SIDE),
        (323, MAX_TILE_SIDE),
    ):
        side = int(values[tag].max(initial=0)) if tag in values else 0
        if side > limit:
            what = "tiles" if tag in (322, 323) else "an image"
            raise InputError(
                f"{path.name} claims to hold {what} of {side} px a side; "
                f"up to {limit} is plausible",
                hint="The file is damaged: copy or export it again",
            )
    end = 0
    for offsets, counts in zip(OFFSETS, COUNTS, strict=True):
        if offsets in values and counts in values:
            num = min(len(values[offsets]), len(values[counts]))
            start, length = values[offsets][:num], values[counts][:num]
            # A sum beyond 64 bits starts again at 0; its larger part then lies past any end.
            ends = np.maximum(start + length, np.maximum(start, length))
            end = max(end, int(ends.max(initial=0)))
    return end


def _directories(file: BinaryIO) -> Iterator[_Values]:
    """The tags that matter, image by image; none of Hamamatsu's or of files that aren't TIFF."""
    head = file.read(8)
    layout = _layout(head)
    if layout is None:
        return
    if layout.width == 8:
        (position,) = struct.unpack(layout.order + "Q", _read(file, 8, 8))
    else:
        (position,) = struct.unpack(layout.order + "I", head[4:])
    seen: set[int] = set()
    while position and position not in seen and len(seen) < MAX_DIRECTORIES:
        seen.add(position)
        values, position = _directory(file, position, layout)
        if NDPI in values:
            return
        yield values


def _layout(head: bytes) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return None
    (version,) = struct.unpack(order + "H", head[2:4])
    if version == 42:
        return _Layout(order, "I", "H", 12)
    return _Layout(order, "Q", "Q", 20) if version == 43 else None


def _directory(file: BinaryIO, position: int, layout: _Layout) -> tuple[_Values, int]:
    """Values of the tags that matter of one directory, and the place of the next."""
    width = struct.calcsize(layout.count)
    (num,) = struct.unpack(layout.order + layout.count, _read(file, position, width))
    num = min(num, 65_535)
    entries = _read(file, position + width, num * layout.entry + layout.width)
    values: _Values = {}
    for i in range(num):
        entry = entries[i * layout.entry : (i + 1) * layout.entry]
        tag, kind = struct.unpack(layout.order + "HH", entry[:4])
        if tag in SIDES or tag in OFFSETS or tag in COUNTS or tag == NDPI:
            values[tag] = _read_values(file, entry, kind, layout)
    (following,) = struct.unpack(layout.order + layout.offset, entries[num * layout.entry :])
    return values, following


def _read_values(file: BinaryIO, entry: bytes, kind: int, layout: _Layout) -> NDArray[np.uint64]:
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
