"""The directories of a TIFF file, read strictly: nothing is believed that the file can't hold.

Both users come here: `tiff_gate`, which refuses damaged and hostile files before any decoder
sees them, and `tiled_tiff`, which reads tiles directly.

Source:
    TIFF 6.0 (Adobe 1992) and BigTIFF (AWare Systems). Hamamatsu's NDPI isn't documented; its long
    offsets are read as tifffile and OpenSlide's development version read them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, STRIP_COUNTS, PLANAR = 273, 277, 279, 284
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 317, 322, 323, 324, 325
SUB_DIRECTORIES, JPEG_TABLES = 330, 347
NDPI = 65420
"""Marks Hamamatsu files, whose offsets beyond 4 GB are written in a way of their own."""
LONG = 4
"""Type of 32-bit values; Hamamatsu's high words lengthen them to 64 bits."""

NUMBERS = frozenset(
    {
        *(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIP_OFFSETS, SAMPLES),
        *(STRIP_COUNTS, PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS),
        *(SUB_DIRECTORIES, NDPI),
    }
)
MAX_DIRECTORIES = 1_000
"""Real slides have under thirty; a z-stack has some hundreds."""
MAX_ENTRIES = 4_096
"""Tags of one directory; real ones have under fifty."""

Numbers: TypeAlias = NDArray[np.uint64]

_DTYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 6: "u1", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}


class TiffError(Exception):
    """The file can't be what it claims; the message says why, as the rest of a sentence."""


class TooShortError(TiffError):
    """The file ends before something that it promises."""

    def __init__(self) -> None:
        super().__init__("parts of it lie past its end")


@dataclass(frozen=True, slots=True)
class Directory:
    """One image of the file.

    Attributes:
        position: where the directory lies in the file, bytes.
        numbers: values of the integer tags that matter, [n] each.
        tables: quantisation and Huffman tables that its JPEG tiles share; empty if none.
    """

    position: int
    numbers: dict[int, Numbers] = field(default_factory=dict[int, Numbers])
    tables: bytes = b""

    def number(self, tag: int, default: int) -> int:
        """First value of a tag."""
        values = self.numbers.get(tag)
        return default if values is None or len(values) == 0 else int(values[0])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image; 0 where the file doesn't say."""
        return self.number(WIDTH, 0), self.number(HEIGHT, 0)


@dataclass(frozen=True, slots=True)
class _Form:
    """Sizes of the kinds of TIFF: classic, BigTIFF, and Hamamatsu's classic with long offsets."""

    order: str
    offset: str
    count: str
    entry: int
    following: str
    has_high_words: bool = False

    @property
    def width(self) -> int:
        return struct.calcsize(self.offset)


def read_directories(
    file: BinaryIO, *, only: frozenset[int] = NUMBERS | {JPEG_TABLES}
) -> Iterator[Directory]:
    """All images of a TIFF file, each before those that hang below it; none for other files.

    Args:
        file: open for reading.
        only: tags that are read; places of tiles are most of what there is.

    Raises:
        TiffError: a directory or its values lie outside the file, or they form a loop.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(16)
    form = _form(head)
    if form is None:
        return
    if form.width == 8 and len(head) < 16:
        raise TooShortError
    first = struct.unpack(form.order + form.offset, head[form.width : 2 * form.width])[0]
    if _is_ndpi(file, size, head):
        form, first = NDPI_FORM, struct.unpack("<Q", head[4:12])[0]
    waiting = [(int(first), 0)]
    leads_to: dict[int, int] = {}
    while waiting:
        position, before = waiting.pop()
        if position == 0:
            continue
        if position in leads_to:
            if _is_loop(leads_to, position, before):
                raise TiffError("its directories form a loop")
            continue  # sub-directories are often listed and chained to each other, too
        if len(leads_to) >= MAX_DIRECTORIES:
            raise TiffError(f"it has more than {MAX_DIRECTORIES} directories")
        leads_to[position] = before
        directory, following = _read_directory(file, size, position, form, only)
        yield directory
        below = directory.numbers.get(SUB_DIRECTORIES, np.zeros(0, np.uint64))
        waiting.append((following, position))
        waiting.extend((int(p), position) for p in below[::-1])


def _is_ndpi(file: BinaryIO, size: int, head: bytes) -> bool:
    """Whether a classic TIFF is written as Hamamatsu does for files beyond 4 GB.

    Its first directory, at an offset of 64 bits, says who made it, and ends in a 64-bit offset
    and as many high words as it has entries.
    """
    if _form(head) != CLASSIC or len(head) < 12:
        return False
    (position,) = struct.unpack("<Q", head[4:12])
    try:
        (num,) = struct.unpack("<H", _read(file, size, position, 2))
        if num > MAX_ENTRIES:
            return False
        entries = _read(file, size, position + 2, num * 12 + 8 + num * 4)
    except TooShortError:
        return False
    (following,) = struct.unpack("<Q", entries[num * 12 : num * 12 + 8])
    tags = {struct.unpack("<H", entries[i * 12 : i * 12 + 2])[0] for i in range(num)}
    return NDPI in tags and following < size


def _is_loop(leads_to: dict[int, int], position: int, last: int) -> bool:
    """Whether a directory lies on the way to the one that names it."""
    while last:
        if last == position:
            return True
        last = leads_to[last]
    return False


CLASSIC = _Form("<", "I", "H", 12, "I")
NDPI_FORM = _Form("<", "I", "H", 12, "Q", has_high_words=True)


def _form(head: bytes) -> _Form | None:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return None
    (version,) = struct.unpack(order + "H", head[2:4])
    if version == 42:
        return _Form(order, "I", "H", 12, "I")
    return _Form(order, "Q", "Q", 20, "Q") if version == 43 else None


def _read_directory(
    file: BinaryIO, size: int, position: int, form: _Form, only: frozenset[int]
) -> tuple[Directory, int]:
    """A directory and the position of the next, 0 after the last."""
    width = struct.calcsize(form.count)
    (num,) = struct.unpack(form.order + form.count, _read(file, size, position, width))
    if num > MAX_ENTRIES:
        raise TiffError(f"a directory claims to have {num} entries")
    end = num * form.entry + struct.calcsize(form.following)
    words = 4 * num if form.has_high_words else 0
    data = _read(file, size, position + width, end + words)
    high_words = np.frombuffer(data[end:], "<u4") if words else np.zeros(num, "<u4")
    numbers: dict[int, Numbers] = {}
    tables = b""
    for i in range(num):
        entry, high = data[i * form.entry : (i + 1) * form.entry], int(high_words[i])
        tag, kind = struct.unpack(form.order + "HH", entry[:4])
        if tag not in only or kind not in _DTYPES:
            continue
        if tag in NUMBERS:
            values = _read_values(file, size, entry, kind, form, high)
            numbers[tag] = np.frombuffer(values, form.order + _DTYPES[kind]).astype(np.uint64)
            if kind == LONG and len(numbers[tag]) == 1:
                numbers[tag] |= np.uint64(high << 32)
        elif tag == JPEG_TABLES:
            tables = _read_values(file, size, entry, kind, form, high)
    (following,) = struct.unpack(form.order + form.following, data[num * form.entry : end])
    return Directory(position, numbers, tables), int(following)


def _read_values(
    file: BinaryIO, size: int, entry: bytes, kind: int, form: _Form, high: int
) -> bytes:
    """Bytes of an entry's values, which lie in the entry itself where they are few."""
    (num,) = struct.unpack(form.order + form.offset, entry[4 : 4 + form.width])
    length = num * np.dtype(_DTYPES[kind]).itemsize
    inline = entry[4 + form.width :]
    if length <= form.width:
        return inline[:length]
    (place,) = struct.unpack(form.order + form.offset, inline)
    return _read(file, size, place + (high << 32), length)


def _read(file: BinaryIO, size: int, position: int, length: int) -> bytes:
    if position + length > size:
        raise TooShortError
    file.seek(position)
    data = file.read(length)
    if len(data) < length:
        raise TooShortError
    return data
