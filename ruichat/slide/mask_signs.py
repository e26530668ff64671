"""What in a picture's header speaks for a mask of labels rather than a scan; nothing is decoded.

A sign is no proof: slides may be grey, and a scan may be empty. Who lists files marks such ones and
hides none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ruichat.slide import tiff
from ruichat.slide.plain_header import png_size

MaskSign = Literal["", "grey", "flat"]
"""Why a picture may be a mask: it has one channel, or large areas of exactly one colour."""

MIN_BYTES_PER_PX = 0.05
"""Of colour that is stored without loss; ours. Noise alone makes any scan take ten times that."""

_TAGS = frozenset(
    {
        *(tiff.WIDTH, tiff.HEIGHT, tiff.BITS, tiff.COMPRESSION, tiff.PHOTOMETRIC, tiff.SAMPLES),
        *(tiff.SUB_DIRECTORIES, tiff.NDPI),
    }
)
_LOSSLESS = frozenset({5, 8, 32773, 32946, 34925, 50000})
"""TIFF Compression: LZW, Deflate (both codes), PackBits, LZMA, Zstandard."""

_COLOUR_PLANES = 3
"""As many grey pages of one size may be the red, green and blue of one picture."""

_TIFF = (".tif", ".tiff")


def mask_sign(path: Path) -> MaskSign:
    """Whether a picture may be a mask, as far as PNG and plain TIFF headers tell.

    "" for any other file, and for one that can't be read.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if path.suffix.lower() in _TIFF:
                return _tiff_sign(list(tiff.read_directories(file, only=_TAGS)), size)
            width, height = png_size(file.read(32))
            return "flat" if size < MIN_BYTES_PER_PX * width * height else ""
    except (OSError, tiff.TiffError):
        return ""


def _tiff_sign(directories: list[tiff.Directory], size: int) -> MaskSign:
    if not directories:
        return ""
    finest = max(directories, key=_num_pixels)
    if finest.number(tiff.SAMPLES, 1) == 1:
        same = sum(one.size == finest.size for one in directories)
        return "grey" if same < _COLOUR_PLANES else ""
    is_lossless = finest.number(tiff.COMPRESSION, 1) in _LOSSLESS
    return "flat" if is_lossless and size < MIN_BYTES_PER_PX * _num_pixels(finest) else ""


def _num_pixels(directory: tiff.Directory) -> int:
    width, height = directory.size
    return width * height
