"""From the bytes of one DICOM frame to RGB, for the transfer syntaxes that scanners use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ruichat.slide import tiff
from ruichat.slide.arrays import Bytes
from ruichat.slide.dicom_file import NATIVE, DicomError, DicomFile
from ruichat.slide.tiff import Directory
from ruichat.slide.tile_codecs import JPEG, RGB, YCBCR, choose_decoder

JPEG_BASELINE = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
JPEG_LS = frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"})
JPEG_2000 = frozenset(
    {
        *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),
        *("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"),
    }
)
"""Lossless and lossy, and high throughput."""

RUN_LENGTH = "1.2.840.10008.1.2.5"

DecodeFrame = Callable[[bytes], UInt8[Bytes, "h w 3"]]

IN_RGB = frozenset({"RGB", "YBR_RCT", "YBR_ICT"})
"""Colours that are RGB once a frame is decoded: a JPEG 2000 decoder undoes its own transforms."""


def choose_frame_decoder(found: DicomFile) -> DecodeFrame:
    """How to decode the frames of a file.

    Raises:
        DicomError: their coding or their colours aren't read.
    """
    colours = str(found.data.get("PhotometricInterpretation", ""))
    across, down = found.tile
    shape = (down, across, 3)
    if found.syntax in JPEG_BASELINE:
        return _jpeg(shape, is_rgb=colours == "RGB")
    unpack = _unpacker(found, shape)
    if colours in IN_RGB:
        return unpack
    if colours == "YBR_FULL":
        return lambda data: to_rgb(unpack(data))
    raise DicomError(f"has colours of the kind {colours} in transfer syntax {found.syntax}")


def _unpacker(found: DicomFile, shape: tuple[int, int, int]) -> DecodeFrame:
    planar = int(found.data.get("PlanarConfiguration") or 0) == 1
    if found.syntax in NATIVE:
        return lambda data: _by_pixel(np.frombuffer(data, np.uint8), shape, planar)
    if found.syntax == RUN_LENGTH:
        import imagecodecs

        return lambda data: _by_pixel(
            np.frombuffer(imagecodecs.dicomrle_decode(data, np.dtype(np.uint8)), np.uint8),
            shape,
            planar=True,
        )
    if found.syntax in JPEG_2000 | JPEG_LS:
        import imagecodecs

        coded = imagecodecs.jpegls_decode
        if found.syntax in JPEG_2000:
            coded = imagecodecs.jpeg2k_decode
        return lambda data: _checked(coded(data), shape)
    raise DicomError(f"is written in transfer syntax {found.syntax}, which isn't read")


def _jpeg(shape: tuple[int, int, int], *, is_rgb: bool) -> DecodeFrame:
    numbers = {
        tiff.SAMPLES: np.array([3], np.uint64),
        tiff.COMPRESSION: np.array([JPEG], np.uint64),
        tiff.PHOTOMETRIC: np.array([RGB if is_rgb else YCBCR], np.uint64),
        tiff.BITS: np.array([8, 8, 8], np.uint64),
    }
    decode = choose_decoder(Directory(0, numbers))
    assert decode is not None

    def decode_frame(data: bytes) -> UInt8[Bytes, "h w 3"]:
        out = np.empty(shape, np.uint8)
        decode(data, out)
        return out

    return decode_frame


def _by_pixel(flat: Bytes, shape: tuple[int, int, int], planar: bool) -> Bytes:
    down, across, samples = shape
    if not planar:
        return flat.reshape(shape)
    return np.moveaxis(flat.reshape(samples, down, across), 0, 2)


def _checked(pixels: Any, shape: tuple[int, int, int]) -> Bytes:
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise ValueError(f"a frame of {pixels.dtype} {pixels.shape}")
    return pixels


def to_rgb(ybr: UInt8[Bytes, "h w 3"]) -> UInt8[Bytes, "h w 3"]:
    """RGB of luminance and chroma in full range.

    Source:
        DICOM PS3.3 C.7.6.3.1.2, YBR_FULL; the same as in JFIF.
    """
    y, b, r = (ybr[..., i].astype(np.float32) - (128 if i else 0) for i in range(3))
    rgb = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], axis=-1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
