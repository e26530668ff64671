"""Pixels of one TIFF page, tile by tile or strip by strip, in any coding that tifffile decodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.slide.alpha import over_white
from ruichat.slide.arrays import Bytes
from ruichat.slide.open_file import OpenFile
from ruichat.slide.tiff_pages import not_brightfield

if TYPE_CHECKING:
    from tifffile import TiffPage

MAX_STRIP_PX = 300_000_000
"""A compressed strip is decoded whole: 900 MB of RGB."""

RAW_ROWS = 256
"""Rows of an uncompressed strip that are read at once, however many it has."""

JPEG_COMPRESSIONS = frozenset({6, 7, 33007, 34892})
"""TIFF Compression: JPEG of old, new, private and lossy kind."""

UNSPECIFIED, PREMULTIPLIED = 0, 1
"""TIFF ExtraSamples: a fourth channel of no stated meaning, or alpha with its colours weighted."""

Samples = NDArray[Any]


class Plane:
    """One page: where its tiles or strips lie, and how they are decoded.

    Attributes:
        size: width and height, pixels.
        tile: width and height of what is decoded at once.

    Raises:
        InputError: tiles are missing, or too large to decode.
    """

    def __init__(self, path: Path, page: TiffPage) -> None:
        self.size = (page.imagewidth, page.imagelength)
        self.tile = (page.tilewidth, page.tilelength) if page.is_tiled else _strip(page)
        self._offsets, self._counts = page.dataoffsets, page.databytecounts
        self._planes = page.samplesperpixel if int(page.planarconfig) == 2 else 1
        rows, columns = -(-self.size[1] // self.tile[1]), -(-self.size[0] // self.tile[0])
        self._num = rows * columns
        if min(len(self._offsets), len(self._counts)) < self._num * self._planes:
            raise InputError(
                f"{path.name} is truncated or damaged: {self._num * self._planes} tiles or strips "
                f"cover its image, {len(self._offsets)} are listed",
                hint="Copy or export the file again",
            )
        self._rows = _RawRows(page) if _is_raw_strip(page) else None
        if self._rows is not None:
            self.tile = (self.size[0], RAW_ROWS)
        elif self.tile[0] * self.tile[1] > MAX_STRIP_PX:
            raise InputError(
                f"{path.name} holds strips of {self.tile[0]} x {self.tile[1]} px; they may have "
                f"up to {MAX_STRIP_PX // 1_000_000} million pixels",
                hint="Convert it to a tiled pyramidal TIFF, or give a smaller region",
            )
        self._tables, self._header = page.jpegtables, page.jpegheader
        self._decode = page.decode

    def decode(self, index: int, file: OpenFile) -> Samples | None:
        """Samples as stored, [h,w,s], of a tile or strip; None where the file holds none."""
        if self._rows is not None:
            return self._rows.read(file, index)
        parts = [self._segment(index + plane * self._num, file) for plane in range(self._planes)]
        return join(parts)

    def _segment(self, index: int, file: OpenFile) -> Samples | None:
        if self._counts[index] == 0:
            return None
        data = file.read(self._offsets[index], self._counts[index])
        more = {} if self._header is None else {"jpegheader": self._header}
        pixels = self._decode(data, index, jpegtables=self._tables, **more)[0]
        return None if pixels is None else pixels[0]


def join(parts: Sequence[Samples | None]) -> Samples | None:
    """The colours of one tile from its planes; None where one of them is missing."""
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    return found[0] if len(found) == 1 else np.concatenate(found, axis=2)


def _strip(page: TiffPage) -> tuple[int, int]:
    return page.imagewidth, min(page.rowsperstrip, page.imagelength)


def _is_raw_strip(page: TiffPage) -> bool:
    """Whether pixels lie as they are, in strips that are too high to read as a whole."""
    plain = int(page.compression) == 1 and page.predictor == 1 and page.fillorder == 1
    whole = page.bitspersample in (8, 16) and int(page.planarconfig) == 1
    return plain and whole and len(page.dataoffsets) == 1 and page.imagelength > RAW_ROWS


class _RawRows:
    """Rows of an image that lies in the file as one uncompressed strip."""

    def __init__(self, page: TiffPage) -> None:
        assert page.dtype is not None
        self._offset = page.dataoffsets[0]
        self._dtype = page.dtype.newbyteorder(page.parent.byteorder)
        self._shape = (page.imagelength, page.imagewidth, page.samplesperpixel)

    def read(self, file: OpenFile, index: int) -> Samples:
        height, width, samples = self._shape
        first = index * RAW_ROWS
        rows = min(RAW_ROWS, height - first)
        stride = width * samples * self._dtype.itemsize
        data = file.read(self._offset + first * stride, rows * stride)
        pixels = np.frombuffer(data, self._dtype).reshape(rows, width, samples)
        return pixels.astype(self._dtype.newbyteorder("="), copy=False)


def finisher(
    path: Path, page: TiffPage, num_planes: int, bits: int
) -> Callable[[Samples], UInt8[Bytes, "h w 3"]]:
    """How to turn samples as stored into RGB.

    Args:
        path: the file, for messages.
        page: one of the level's pages.
        num_planes: pages that hold a colour each, or 1.
        bits: of a sample that are used.

    Raises:
        UnsuitableSlideError: the samples aren't brightfield colours.
    """
    from tifffile import PHOTOMETRIC

    kind, samples = int(page.photometric), page.samplesperpixel * num_planes
    grey = kind in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK) and samples == 1
    colour = kind in (PHOTOMETRIC.RGB, PHOTOMETRIC.MINISBLACK) and samples in (3, 4)
    # The JPEG decoder itself turns luminance and chroma into RGB.
    decoded = kind == PHOTOMETRIC.YCBCR and int(page.compression) in JPEG_COMPRESSIONS
    palette = kind == PHOTOMETRIC.PALETTE and samples == 1 and page.colormap is not None
    if page.dtype == np.uint16 and colour:
        return lambda pixels: _to_bytes(pixels[..., :3], bits)
    if page.dtype != np.uint8 or page.imagedepth > 1:
        raise not_brightfield(path, f"{page.dtype}, {samples} channel{'s' * (samples > 1)}")
    if palette:
        table = np.ascontiguousarray((np.asarray(page.colormap) >> 8).astype(np.uint8).T)
        return lambda pixels: table[pixels[..., 0]]
    if grey:
        inverse = kind == PHOTOMETRIC.MINISWHITE and 262 in page.tags
        return lambda pixels: np.repeat(255 - pixels if inverse else pixels, 3, axis=2)
    if not (colour or (decoded and samples == 3)):
        raise not_brightfield(path, f"{samples} channels of kind {PHOTOMETRIC(kind).name}")
    alpha = int(page.extrasamples[0]) if page.extrasamples else UNSPECIFIED
    if samples == 4 and alpha != UNSPECIFIED:
        return lambda pixels: over_white(pixels, premultiplied=alpha == PREMULTIPLIED)
    return lambda pixels: pixels[..., :3]


def _to_bytes(pixels: Samples, bits: int) -> Bytes:
    """Samples of so many bits scaled to 0-255."""
    top = (1 << bits) - 1
    wide = np.minimum(pixels, top).astype(np.uint32)
    return ((wide * 255 + top // 2) // top).astype(np.uint8)
