"""What a TIFF-family file must fulfil before any decoder sees it.

Decoders open a truncated file and quietly miss its pages, allocate what a damaged header asks
for, and end the process on some inputs. Everything here is judged from the directories alone.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ruichat.errors import InputError
from ruichat.slide import tiff
from ruichat.slide.geometry import MAX_SIDE0
from ruichat.slide.tiff import Directory, TiffError

MAX_TILE_PX = 1 << 26
"""Decoders allocate whole tiles: 256 MB for one of so many pixels. Scanners write up to 4096²."""

MOST_FROM_A_BYTE = {1: 1, 5: 2_600, 7: 1_100, 8: 1_100, 32773: 128, 32946: 1_100}
"""Bytes of pixels that a byte of data can hold at most, by Compression.

Ours: LZW writes up to 3,838 bytes with a code of 12 bits, deflate 258 with 2 bits, PackBits 128
with two bytes, baseline JPEG 64 samples with 2 bits, of which chroma may count sixteenfold.
"""

SLACK_BYTES = 1 << 16
"""Sound files may lack the end of their last strip."""

YCBCR = 6


def check_tiff(path: Path) -> None:
    """Refuse a TIFF that is truncated, damaged or asks for absurd memory; other files pass.

    Raises:
        InputError: says what is wrong with the file.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            for directory in tiff.read_directories(file):
                _check_sides(directory)
                _check_data(directory, size)
        except TiffError as error:
            raise InputError(
                f"{path.name} is truncated or damaged: {error} ({size} bytes)",
                hint="Copy or export the file again",
            ) from error


def _check_sides(directory: Directory) -> None:
    width, height = directory.size
    if min(width, height) == 0 or max(width, height) > MAX_SIDE0:
        raise TiffError(f"an image claims to be {width} x {height} px")
    across, down = directory.number(tiff.TILE_WIDTH, 0), directory.number(tiff.TILE_HEIGHT, 0)
    if across * down > MAX_TILE_PX:
        raise TiffError(f"its tiles claim to be {across} x {down} px")


def _check_data(directory: Directory, size: int) -> None:
    """Tiles and strips lie inside the file, and there are as many as the image needs."""
    for offsets_tag, counts_tag in (
        (tiff.STRIP_OFFSETS, tiff.STRIP_COUNTS),
        (tiff.TILE_OFFSETS, tiff.TILE_COUNTS),
    ):
        offsets = directory.numbers.get(offsets_tag)
        counts = directory.numbers.get(counts_tag)
        if offsets is None or counts is None:
            continue
        num = min(len(offsets), len(counts))
        # Compared apart: their sum may not fit 64 bits.
        offsets, counts = offsets[:num], counts[:num]
        limit = np.uint64(size)
        used = counts > 0
        if (offsets[used] > limit).any() or (counts > limit).any():
            raise tiff.TooShortError
        if (offsets[used] + counts[used] > limit).any():
            raise tiff.TooShortError
    _check_tiles(directory)
    _check_claims(directory)


def _check_tiles(directory: Directory) -> None:
    across, down = directory.number(tiff.TILE_WIDTH, 0), directory.number(tiff.TILE_HEIGHT, 0)
    tiles = directory.numbers.get(tiff.TILE_OFFSETS)
    if tiles is None:
        return
    if across == 0 or down == 0:
        raise TiffError("its tiles have no size")
    width, height = directory.size
    planes = directory.number(tiff.SAMPLES, 1) if directory.number(tiff.PLANAR, 1) == 2 else 1
    needed = -(-width // across) * -(-height // down) * planes
    if len(tiles) < needed:
        raise TiffError(f"{needed} tiles cover its image, {len(tiles)} are listed")


def _check_claims(directory: Directory) -> None:
    """The pixels that an image claims to have can come out of its bytes."""
    most = MOST_FROM_A_BYTE.get(directory.number(tiff.COMPRESSION, 1))
    strips = directory.numbers.get(tiff.STRIP_COUNTS)
    tiles = directory.numbers.get(tiff.TILE_COUNTS)
    counts = strips if tiles is None else tiles
    if most is None or counts is None or (tiles is None and (counts == 0).any()):
        return
    bits = int(directory.numbers.get(tiff.BITS, np.ones(1, np.uint64)).sum())
    if directory.number(tiff.PHOTOMETRIC, 0) == YCBCR:
        bits = bits // 3  # chroma may be stored for a few pixels together
    width, height = directory.size
    pixels = width * height
    if tiles is not None:
        tile = directory.number(tiff.TILE_WIDTH, 0) * directory.number(tiff.TILE_HEIGHT, 0)
        planes = directory.number(tiff.SAMPLES, 1) if directory.number(tiff.PLANAR, 1) == 2 else 1
        pixels = tile * int((tiles > 0).sum()) // planes
    claimed, held = pixels * bits // 8, int(counts.sum())
    if claimed > most * held + SLACK_BYTES:
        raise TiffError(f"{claimed} bytes of pixels can't come out of {held} bytes of data")
