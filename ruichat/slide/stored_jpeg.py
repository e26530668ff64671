"""A tile's JPEG as the file holds it, made whole for a browser, with nothing in it but pixels.

TIFF keeps tables apart from tiles and says outside of the JPEG which colours it has. Comments and
application segments, where scanners and converters write what they like, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from ruichat.slide import tiff
from ruichat.slide.tiff import Directory
from ruichat.slide.tile_codecs import ADOBE, JPEG, YCBCR

Whole: TypeAlias = Callable[[bytes], bytes | None]
"""From a tile's bytes to a JPEG of its own; None where they are no plain JPEG of that tile."""

START, END = b"\xff\xd8", b"\xff\xd9"
SCAN, RESTARTS = 0xDA, 0xDD
FRAMES = frozenset({0xC0, 0xC1})
"""Baseline and extended Huffman coding: what every browser decodes."""

TABLES = frozenset({0xDB, 0xC4})
"""Quantisation and Huffman tables."""

PADDING = 0xFF

NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends a scan: neither a stuffed byte nor a restart."""


def make_whole(directory: Directory) -> Whole | None:
    """How to hand out the tiles of an image; None where they aren't JPEG of 3 by 8 bits."""
    if directory.number(tiff.COMPRESSION, 1) != JPEG:
        return None
    is_ycbcr = directory.number(tiff.PHOTOMETRIC, 0) == YCBCR
    size = directory.number(tiff.TILE_WIDTH, 0), directory.number(tiff.TILE_HEIGHT, 0)
    shared = _parts(directory.tables + END) if directory.tables else (b"", b"")
    if shared is None:
        return None
    head = START + ADOBE + bytes([is_ycbcr]) + shared[0]

    def whole(data: bytes) -> bytes | None:
        parts = _parts(data, size)
        return None if parts is None else b"".join((head, *parts, END))

    return whole


def _parts(data: bytes, size: tuple[int, int] | None = None) -> tuple[bytes, bytes] | None:
    """Tables and frame of a JPEG, and its only scan; None for what isn't understood.

    Args:
        data: a JPEG.
        size: width and height that its frame must state; None for tables alone.
    """
    if data[:2] != START:
        return None
    kept: list[bytes] = []
    place, has_frame = 2, False
    while place + 4 <= len(data) and data[place] == PADDING:
        marker = data[place + 1]
        if marker == PADDING:
            place += 1
            continue
        if marker == END[1]:
            break
        length = int.from_bytes(data[place + 2 : place + 4])
        segment = data[place : place + 2 + length]
        if length < 2 or len(segment) != 2 + length:
            return None
        if marker == SCAN:
            end = NEXT_MARKER.search(data, place + len(segment))
            is_last = end is None or end[0] == END
            scan = data[place : len(data) if end is None else end.start()]
            return (b"".join(kept), scan) if has_frame and is_last else None
        if marker in FRAMES:
            if size is None or not _is_colour(segment, size):
                return None
            has_frame = True
        if marker in FRAMES or marker in TABLES or marker == RESTARTS:
            kept.append(segment)
        elif not (marker == 0xFE or 0xE0 <= marker <= 0xEF):
            return None
        place += 2 + length
    return (b"".join(kept), b"") if size is None else None


def _is_colour(frame: bytes, size: tuple[int, int]) -> bool:
    """Whether a frame has 3 components of 8 bits and the size of the tile."""
    height, width = int.from_bytes(frame[5:7]), int.from_bytes(frame[7:9])
    return len(frame) == 19 and frame[4] == 8 and frame[9] == 3 and (width, height) == size
