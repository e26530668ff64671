"""Tiles handed on as they are: the same pixels, and nothing but pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import tifffile
from drawn import draw_tissue
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ruichat.slide import tiff
from ruichat.slide.opening import open_slide
from ruichat.slide.stored_jpeg import make_whole
from ruichat.slide.tiff import Directory
from ruichat.units import Region0

PICTURE = draw_tissue(300, 200, seed=3)
JPEG: dict[str, Any] = {"compression": "jpeg", "compressionargs": {"level": 85}}
CODINGS: dict[str, dict[str, Any]] = {
    "RGB": {"photometric": "rgb", **JPEG},
    "whole chroma": {"photometric": "ycbcr", "subsampling": (1, 1), **JPEG},
    "quartered chroma": {"photometric": "ycbcr", "subsampling": (2, 2), **JPEG},
}


def write(path: Path, **coding: Any) -> Path:
    with tifffile.TiffWriter(path) as file:
        file.write(
            PICTURE,
            tile=(64, 64),
            metadata=None,
            resolution=(20_000, 20_000),
            resolutionunit=3,
            **coding,
        )
    return path


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS.keys())
def test_a_stored_tile_has_the_pixels_that_reading_gives(
    coding: dict[str, Any], tmp_path: Path
) -> None:
    with open_slide(write(tmp_path / "a.tif", **coding)) as slide:
        assert slide.stored_tiles == ((64, 64),)
        for column, row in ((0, 0), (1, 2), (3, 1)):
            stored = slide.read_stored(0, column, row)
            assert stored is not None
            read = slide.read(Region0(column * 64, row * 64, 64, 64), mpp=slide.mpp.value)
            assert np.array_equal(simplejpeg.decode_jpeg(stored), read)
        for column, row in ((5, 0), (0, 4), (-1, 0), (0, -1)):
            assert slide.read_stored(0, column, row) is None


def test_other_codings_and_managed_colours_are_not_handed_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", photometric="rgb", compression="lzw")
    with open_slide(path) as slide:
        assert slide.stored_tiles == (None,)
        assert slide.read_stored(0, 0, 0) is None
    path = write(tmp_path / "b.tif", **CODINGS["whole chroma"])
    with open_slide(path, icc=True) as slide:
        assert slide.stored_tiles == (None,)


def whole(data: bytes) -> bytes | None:
    numbers = {
        tiff.COMPRESSION: np.array([7], np.uint64),
        tiff.PHOTOMETRIC: np.array([6], np.uint64),
        tiff.TILE_WIDTH: np.array([64], np.uint64),
        tiff.TILE_HEIGHT: np.array([64], np.uint64),
    }
    made = make_whole(Directory(0, numbers))
    assert made is not None
    return made(data)


def jpeg(**options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PICTURE[:64, :64]).save(file, "JPEG", quality=80, **options)
    return file.getvalue()


def test_no_words_of_the_file_pass() -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET name"
    marked = jpeg(comment=b"SECRET", exif=exif) + b"SECRET after the end"
    assert marked.count(b"SECRET") == 3
    clean = whole(marked)
    assert clean is not None and b"SECRET" not in clean
    assert np.array_equal(simplejpeg.decode_jpeg(clean), simplejpeg.decode_jpeg(jpeg()))


def test_what_is_no_jpeg_of_the_tile_is_not_handed_on() -> None:
    small = io.BytesIO()
    Image.fromarray(PICTURE[:32, :64]).save(small, "JPEG")
    grey = io.BytesIO()
    Image.fromarray(PICTURE[:64, :64, 0]).save(grey, "JPEG")
    several_scans = jpeg(progressive=True)  # between them there is room for words
    for data in (b"", several_scans, small.getvalue(), grey.getvalue(), b"<script>" + jpeg()):
        assert whole(data) is None


@given(data=st.binary(max_size=300), cut=st.integers(0, 700))
def test_any_bytes_are_judged_without_a_crash(data: bytes, cut: int) -> None:
    for tried in (data, b"\xff\xd8" + data, jpeg()[:cut] + data):
        made = whole(tried)
        assert made is None or made.startswith(b"\xff\xd8\xff\xee\x00\x0eAdobe")
