"""From the bytes of one TIFF tile to its pixels, for the codings that scanners use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ruichat.slide import tiff
from ruichat.slide.arrays import Bytes
from ruichat.slide.tiff import Directory

Decode: TypeAlias = Callable[[bytes, Bytes], None]
"""Takes a tile's bytes and fills an array, uint8 [h,w,3]; any failure is an exception."""

RGB, YCBCR = 2, 6
"""Values of PhotometricInterpretation."""

JPEG, JPEG2000 = 7, frozenset({33003, 33005, 34712})
RAW, LZW, DEFLATE = 1, 5, frozenset({8, 32946})
HORIZONTAL = 2
"""Predictor: each pixel is stored as its difference from the one to its left."""

ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""Head of a JPEG segment whose last byte says whether the components are YCbCr (1) or RGB (0):
a TIFF says so outside of the JPEG data, where its decoder doesn't look."""


def choose_decoder(directory: Directory) -> Decode | None:
    """How to decode the tiles of an image; None for a coding that isn't known here."""
    bits = directory.numbers.get(tiff.BITS, np.ones(1, np.uint64))
    if (bits != 8).any() or directory.number(tiff.SAMPLES, 1) != 3:
        return None
    if directory.number(tiff.PLANAR, 1) != 1:
        return None
    coding, colour = directory.number(tiff.COMPRESSION, 1), directory.number(tiff.PHOTOMETRIC, RGB)
    if coding == JPEG and colour in (RGB, YCBCR):
        return _jpeg(directory.tables, colour)
    if coding in JPEG2000:
        return _jpeg2000
    if colour != RGB or directory.number(tiff.PREDICTOR, 1) not in (1, HORIZONTAL):
        return None
    return _plain(coding, directory.number(tiff.PREDICTOR, 1) == HORIZONTAL)


def choose_reducer(directory: Directory, factor: int) -> Decode | None:
    """How to decode tiles at 1/factor of their size; None where their coding has no such way.

    JPEG stores blocks of 8 by 8 frequencies: leaving out the higher ones gives 4, 2 or 1 pixels a
    side. On JPEG tiles of real slides the result differs from the average over the same pixels by
    less than one grey level in the mean.

    Source:
        libjpeg's `scale_denom`; Dugad and Ahuja 2001, IEEE Trans CSVT 11:461-474.
    """
    if directory.number(tiff.COMPRESSION, 1) != JPEG or choose_decoder(directory) is None:
        return None
    return _jpeg(directory.tables, directory.number(tiff.PHOTOMETRIC, RGB), factor)


def _jpeg(tables: bytes, colour: int, factor: int = 1) -> Decode:
    import simplejpeg

    # Tables come as a JPEG of their own, between its markers of start (2 bytes) and end.
    head = b"\xff\xd8" + ADOBE + bytes([colour == YCBCR]) + tables[2:-2]

    def decode(data: bytes, out: Bytes) -> None:
        height, width = out.shape[:2] if factor > 1 else (0, 0)
        pixels = simplejpeg.decode_jpeg(
            b"".join((head, memoryview(data)[2:])),
            min_height=height,
            min_width=width,
            min_factor=factor,
            buffer=out,
        )
        if pixels.shape != out.shape:
            raise ValueError(f"a tile of {pixels.shape[1]} x {pixels.shape[0]} px")

    return decode


def _jpeg2000(data: bytes, out: Bytes) -> None:
    import imagecodecs

    pixels = imagecodecs.jpeg2k_decode(data)
    if pixels.shape != out.shape or pixels.dtype != np.uint8:
        raise ValueError(f"a tile of {pixels.dtype} {pixels.shape}")
    out[:] = pixels


def _plain(coding: int, is_difference: bool) -> Decode | None:
    unpack = {RAW: _cut, LZW: _unpack_lzw, **dict.fromkeys(DEFLATE, _inflate)}.get(coding)
    if unpack is None:
        return None

    def decode(data: bytes, out: Bytes) -> None:
        pixels = np.frombuffer(unpack(data, out.size), np.uint8).reshape(out.shape)
        if is_difference:
            np.cumsum(pixels, axis=1, dtype=np.uint8, out=out)
        else:
            out[:] = pixels

    return decode


def _cut(data: bytes, size: int) -> bytes:
    return data[:size]


def _unpack_lzw(data: bytes, size: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.lzw_decode(data, out=size))


def _inflate(data: bytes, size: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.zlib_decode(data, out=size))
