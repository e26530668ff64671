"""One suite over every registered slide reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import tifffile
from dicoms import Written, write_series
from drawn import draw_tissue, write_pyramid
from numpy.typing import NDArray
from PIL import Image

from ruichat.registry import load_object
from ruichat.slide.geometry import Box
from ruichat.slide.readers import READERS, SlideReader

PICTURE = draw_tissue(400, 300)


def load(name: str) -> Callable[[Path], SlideReader | None]:
    return cast(Callable[[Path], "SlideReader | None"], load_object(READERS.get(name).loader))


def read(reader: SlideReader, level: int, box: Box) -> NDArray[np.uint8]:
    out = np.zeros((box.height, box.width, 3), np.uint8)
    reader.read_many(level, [box], [out])
    assert out.any()
    return out


def write_ome(path: Path) -> Path:
    options = {"tile": (64, 64), "photometric": "rgb"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        tiff.write(PICTURE, subifds=1, metadata=metadata, **options)
        tiff.write(PICTURE[::2, ::2], subfiletype=1, **options)
    return path


def write_png(path: Path) -> Path:
    Image.fromarray(PICTURE).save(path, dpi=(50_800, 50_800))
    return path


SAMPLES: dict[str, Callable[[Path], Path]] = {
    "tiff": lambda folder: write_ome(folder / "slide.ome.tif"),
    "openslide": lambda folder: write_pyramid(folder / "slide.tif", PICTURE, mpp=0.5),
    "dicom": lambda folder: write_series(folder / "slide", PICTURE, Written(), Written(mpp=1.0)),
    "plain": lambda folder: write_png(folder / "slide.png"),
}
"""For each reader a slide of PICTURE at 0.5 um/px that it opens."""


@pytest.fixture(params=list(READERS))
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> SlideReader:
    opened = load(request.param)(SAMPLES[request.param](tmp_path))
    assert opened is not None
    request.addfinalizer(opened.close)
    return opened


def test_it_says_what_it_holds(reader: SlideReader) -> None:
    assert isinstance(reader, SlideReader)
    assert reader.level_sizes[0] == (400, 300)
    assert sorted(reader.level_sizes, reverse=True) == list(reader.level_sizes)
    assert reader.file_mpp == pytest.approx((0.5, 0.5))
    assert all("slide" in str(path) and path.is_file() for path in reader.files)
    assert reader.vendor and reader.warnings == ()


def test_it_reads_any_box_of_any_level(reader: SlideReader) -> None:
    for level, (width, height) in enumerate(reader.level_sizes):
        for box in (Box(0, 0, width, height), Box(width - 7, height - 5, 7, 5)):
            read(reader, level, box)
    assert np.array_equal(read(reader, 0, Box(30, 40, 50, 60)), PICTURE[40:100, 30:80])


@pytest.mark.parametrize("name", list(READERS))
def test_a_file_of_another_kind_is_none_of_its_business(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no slide")
    assert load(name)(tmp_path / "notes.txt") is None


def test_a_plain_image_is_left_to_the_plain_reader(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    assert load("openslide")(tmp_path / "a.png") is None
    assert load("plain")(tmp_path / "a.png") is not None
