"""TIFF slides beside OpenSlide's: whole pyramids, the pixels that were written, tile by tile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from drawn import draw_tissue
from numpy.typing import NDArray
from PIL import Image

from ruichat.errors import InputError, UnsuitableSlideError
from ruichat.slide import tiff_plane, tile_levels
from ruichat.slide.geometry import Box
from ruichat.slide.open_file import OpenFile
from ruichat.slide.opening import open_slide
from ruichat.slide.tiff_reader import TiffReader, open_reader
from ruichat.slide.tiled_tiff import TiledTiffReader

PICTURE = draw_tissue(500, 360, seed=3)
MPP = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
RGB = {"photometric": "rgb", "tile": (64, 64)}
BOXES = [Box(0, 0, 64, 64), Box(30, 40, 100, 90), Box(0, 0, 500, 360), Box(490, 350, 10, 10)]


def write_ome(path: Path, picture: NDArray[Any] = PICTURE, **options: Any) -> Path:
    """An OME-TIFF whose coarser levels hang below the finest."""
    head = {k: options.pop(k) for k in ("bigtiff", "byteorder") if k in options}
    metadata = {"axes": "YXS", **MPP, **options.pop("metadata", {})}
    options = {**RGB, **options}
    with tifffile.TiffWriter(path, ome=True, **head) as tiff:
        tiff.write(picture, subifds=2, metadata=metadata, **deepcopy(options))
        for step in (2, 4):
            tiff.write(picture[::step, ::step], subfiletype=1, **deepcopy(options))
    return path


def write_chain(path: Path, *, reduced: bool = True, **options: Any) -> Path:
    """A pyramid whose levels follow each other."""
    head = {k: options.pop(k) for k in ("bigtiff", "byteorder") if k in options}
    options = {**RGB, "resolution": (20_000, 20_000), "resolutionunit": 3, **options}
    with tifffile.TiffWriter(path, **head) as tiff:
        for step in (1, 2, 4):
            tiff.write(
                PICTURE[::step, ::step],
                metadata=None,
                subfiletype=int(reduced and step > 1),
                **options,
            )
    return path


def pixels(reader: Any, level: int, box: Box) -> NDArray[np.uint8]:
    out = np.zeros((box.height, box.width, 3), np.uint8)
    reader.read_many(level, [box], [out])
    return out


def check(path: Path, *, direct: bool, levels: int = 3, mean: float = 0.0) -> None:
    """The levels are there and hold the picture; `direct` says by which way they are read."""
    reader = open_reader(path)
    assert isinstance(reader, TiledTiffReader if direct else TiffReader)
    assert len(reader.level_sizes) == levels
    for level in range(levels):
        want = PICTURE[:: 2**level, :: 2**level]
        height, width = want.shape[:2]
        assert reader.level_sizes[level] == (width, height)
        if isinstance(reader, TiledTiffReader):
            assert reader.direct_table(level) is not None
        for box in BOXES:
            x, y = min(box.x, width - 1), min(box.y, height - 1)
            part = Box(x, y, min(box.width, width - x), min(box.height, height - y))
            inside = want[y : y + part.height, x : x + part.width].astype(int)
            allowed = mean if inside.size > 300 else 4 * mean
            assert np.abs(pixels(reader, level, part) - inside).mean() <= allowed
    reader.close()


JPEG: dict[str, Any] = {
    "compression": "jpeg",
    "compressionargs": {"level": 95, "outcolorspace": "YCBCR"},
}


@pytest.mark.parametrize(
    ("options", "direct", "mean"),
    [
        ({}, True, 0),
        ({"bigtiff": True, "compression": "zlib", "predictor": True}, True, 0),
        ({"byteorder": ">", "compression": "lzw"}, True, 0),
        ({"subsampling": (2, 2), **JPEG}, True, 12),
        ({"byteorder": ">", "subsampling": (1, 1), **JPEG}, True, 4),
        ({"compression": "zstd"}, False, 0),
        ({"compression": "lerc"}, False, 0),
        ({"compression": "jpeg2000", "compressionargs": {"reversible": True}}, True, 0),
        ({"compression": "webp", "compressionargs": {"lossless": True}}, False, 0),
        ({"tile": None, "rowsperstrip": 20, "compression": "zlib"}, False, 0),
        ({"tile": None, "rowsperstrip": 7}, False, 0),
    ],
)
def test_an_ome_tiff_opens_with_all_its_levels(
    options: dict[str, Any], direct: bool, mean: float, tmp_path: Path
) -> None:
    path = write_ome(tmp_path / "a.ome.tif", **options)
    check(path, direct=direct, mean=mean)
    with open_slide(path) as slide:
        assert (slide.vendor, slide.opened_by, slide.mpp.value) == ("ome-tiff", "tiff", 0.5)


def test_planes_of_colour_are_put_together(tmp_path: Path) -> None:
    planar = np.moveaxis(PICTURE, 2, 0)
    options = {"planarconfig": "separate", "compression": "zlib", **RGB}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        tiff.write(planar, subifds=1, metadata={"axes": "SYX", **MPP}, **options)
        tiff.write(planar[:, ::2, ::2], subfiletype=1, **options)
    check(tmp_path / "a.ome.tif", direct=False, levels=2)


def test_planes_of_named_colours_are_put_together(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["Red", "Green", "Blue"]}, **MPP}
    planes = np.moveaxis(PICTURE, 2, 0)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        tiff.write(planes, subifds=1, metadata=metadata, tile=(64, 64), photometric="minisblack")
        for plane in planes:
            tiff.write(plane[::2, ::2], subfiletype=1, tile=(64, 64), photometric="minisblack")
    reader = open_reader(tmp_path / "a.ome.tif")
    assert reader is not None
    assert np.array_equal(pixels(reader, 0, Box(30, 40, 100, 90)), PICTURE[40:130, 30:130])


@pytest.mark.parametrize("options", [{"byteorder": ">"}, {"byteorder": ">", "bigtiff": True}])
@pytest.mark.parametrize("reduced", [True, False])
def test_a_plain_pyramid_opens_in_either_byte_order(
    options: dict[str, Any], reduced: bool, tmp_path: Path
) -> None:
    path = write_chain(tmp_path / "a.tif", reduced=reduced, tile=None, rowsperstrip=50, **options)
    check(path, direct=False)
    path = write_chain(tmp_path / "b.tif", reduced=reduced, **options)
    with open_slide(path) as slide:
        assert slide.mpp.value == pytest.approx(0.5)
        assert slide.level_downsamples == pytest.approx((1, 2, 4), rel=0.01)
        assert np.array_equal(slide.read(slide.bounds0, mpp=0.5), PICTURE)


def test_label_and_macro_are_no_levels(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=">") as tiff:
        for data in (PICTURE[:100, :90], PICTURE, PICTURE[::2, ::2], PICTURE[:180, :200]):
            tiff.write(data, metadata=None, **RGB)
    reader = open_reader(tmp_path / "a.tif")
    assert reader is not None and reader.level_sizes == ((500, 360), (250, 180))


def test_what_openslide_reads_whole_is_left_to_it(tmp_path: Path) -> None:
    assert open_reader(write_chain(tmp_path / "a.tif")) is None


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    write_ome(tmp_path / "a.ome.tif", PICTURE.astype(np.uint16) * 257)
    check(tmp_path / "a.ome.tif", direct=False)
    deep = (PICTURE.astype(np.uint16) << 4) + (PICTURE >> 4)
    write_ome(tmp_path / "b.ome.tif", deep, metadata={"SignificantBits": 12})
    check(tmp_path / "b.ome.tif", direct=False)


def test_a_high_uncompressed_strip_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    for byteorder in ("<", ">"):
        tifffile.imwrite(
            path,
            PICTURE.astype(np.uint16) * 257,
            photometric="rgb",
            metadata=None,
            byteorder=byteorder,
            rowsperstrip=360,
        )
        monkeypatch.setattr(tiff_plane, "MAX_STRIP_PX", 1000)
        check(path, direct=False, levels=1)


def test_a_compressed_strip_too_large_to_decode_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"photometric": "rgb", "compression": "zlib", "rowsperstrip": 360}
    tifffile.imwrite(tmp_path / "a.tif", PICTURE, metadata=None, **options)
    monkeypatch.setattr(tiff_plane, "MAX_STRIP_PX", 100_000)
    with pytest.raises(InputError, match="strips of 500 x 360 px") as caught:
        open_reader(tmp_path / "a.tif")
    assert "tiled" in caught.value.hint


@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m"])
def test_imagej_states_its_resolution_in_words(unit: str, tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", PICTURE, imagej=True, resolution=(4, 4), metadata={"unit": unit}
    )
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.mpp.value == pytest.approx(0.25)
        assert np.array_equal(slide.thumbnail(500), PICTURE)


GREY = PICTURE[..., 0]


def _imagej_channels(path: Path) -> None:
    tifffile.imwrite(path, np.stack([GREY, GREY]), imagej=True, metadata={"axes": "CYX"})


def _ome_channels(path: Path) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "CD8"]}}
    tifffile.imwrite(
        path,
        np.stack([GREY, GREY]),
        ome=True,
        metadata=metadata,
        tile=(64, 64),
        photometric="minisblack",
    )


def _ome_colours_that_glow(path: Path) -> None:
    channel = {"Name": ["Red", "Green", "Blue"], "EmissionWavelength": [600, 520, 460]}
    metadata = {"axes": "CYX", "Channel": channel}
    planes = np.moveaxis(PICTURE, 2, 0)
    tifffile.imwrite(path, planes, ome=True, metadata=metadata, photometric="minisblack")


def _ome_colours_in_depth(path: Path) -> None:
    metadata = {"axes": "ZCYX", "Channel": {"Name": ["Red", "Green", "Blue"]}}
    planes = np.stack([np.moveaxis(PICTURE, 2, 0)] * 2)
    tifffile.imwrite(path, planes, ome=True, metadata=metadata, photometric="minisblack")


def _ome_times(path: Path) -> None:
    tifffile.imwrite(path, np.stack([PICTURE] * 2), ome=True, metadata={"axes": "TYXS"}, **RGB)


def _deep_grey(path: Path) -> None:
    tifffile.imwrite(path, GREY.astype(np.uint16) * 200, ome=True, tile=(64, 64))


def _floats(path: Path) -> None:
    tifffile.imwrite(path, PICTURE / np.float32(255), photometric="rgb", tile=(64, 64))


def _ome_of_several_files(path: Path) -> None:
    write_ome(path)
    data = path.read_bytes()
    other = b'<TiffData IFD="0"><UUID FileName="b.tif">urn:b</UUID></TiffData>'
    with tifffile.TiffFile(path) as tiff:
        text = (tiff.ome_metadata or "").replace('<TiffData IFD="0" PlaneCount="1"/>', "#")
    assert "#" in text
    tifffile.tiffcomment(path, text.replace("#", other.decode()).encode())
    assert path.read_bytes() != data


def _ome_that_hides_something(path: Path) -> None:
    write_ome(path)
    with tifffile.TiffFile(path) as tiff:
        text = tiff.ome_metadata or ""
    doctype = '<!DOCTYPE OME [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    tifffile.tiffcomment(path, text.replace("<OME", f"{doctype}<OME").encode())


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_imagej_channels, "2 channels"),
        (_ome_channels, "2 channels;"),
        (_ome_colours_that_glow, "3 channels"),
        (_ome_times, "2 points in time"),
        (_ome_colours_in_depth, "3 colours in 2 focal planes"),
        (_deep_grey, "uint16, 1 channel;"),
        (_floats, "float32, 3 channels"),
        (_ome_of_several_files, "one of several files"),
        (_ome_that_hides_something, "declares a document type"),
    ],
)
def test_what_is_no_brightfield_slide_is_refused_as_such(
    write: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.ome.tif")
    with pytest.raises(InputError, match=words) as caught:
        open_slide(tmp_path / "a.ome.tif", mpp=0.5)
    assert "xport" in caught.value.hint
    with pytest.raises(UnsuitableSlideError):
        open_reader(tmp_path / "a.ome.tif")


def test_of_focal_planes_the_middle_one_is_read_and_told(tmp_path: Path) -> None:
    stack = np.stack([255 - PICTURE, PICTURE, 255 - PICTURE])
    tifffile.imwrite(
        tmp_path / "a.ome.tif", stack, ome=True, metadata={"axes": "ZYXS", **MPP}, **RGB
    )
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert "3 focal planes the middle" in slide.warnings[0]
        assert np.array_equal(slide.read(slide.bounds0, mpp=0.5), PICTURE)
    tifffile.imwrite(tmp_path / "b.tif", stack, imagej=True, metadata={"axes": "ZYXS"})
    with open_slide(tmp_path / "b.tif", mpp=0.5) as slide:
        assert "3 focal planes" in slide.warnings[0]


def test_tiles_that_were_left_out_are_white(tmp_path: Path) -> None:
    for options in ({"compression": "zstd"}, {"compression": "zlib"}):
        path = write_ome(tmp_path / "a.ome.tif", **options)
        with tifffile.TiffFile(path) as tiff:
            tag = tiff.pages[0].tags["TileByteCounts"]  # type: ignore[union-attr]
            with path.open("r+b") as file:
                file.seek(tag.valueoffset)
                file.write(b"\0" * 4)
        reader = open_reader(path)
        assert reader is not None
        assert (pixels(reader, 0, Box(0, 0, 64, 64)) == 255).all()
        want = PICTURE[:64, 64:128]
        assert np.array_equal(pixels(reader, 0, Box(32, 0, 96, 64))[:, 32:], want)


def test_grey_and_palette_become_rgb(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY, byteorder=">", tile=(64, 64))
    tifffile.imwrite(tmp_path / "b.tif", 255 - GREY, photometric="miniswhite", rowsperstrip=9)
    for name in ("a.tif", "b.tif"):
        reader = open_reader(tmp_path / name)
        assert reader is not None
        got = pixels(reader, 0, Box(0, 0, 500, 360))
        assert all(np.array_equal(got[..., i], GREY) for i in range(3))
    picture = Image.fromarray(PICTURE).quantize(32)
    picture.save(tmp_path / "c.tif")
    reader = open_reader(tmp_path / "c.tif")
    assert reader is not None
    got = pixels(reader, 0, Box(0, 0, 500, 360))
    assert np.array_equal(got, np.asarray(picture.convert("RGB")))


def test_strips_are_decoded_once_along_a_row_of_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PICTURE, photometric="rgb", compression="zlib", rowsperstrip=1)
    counts: Counter[int] = Counter()
    decode = tiff_plane.Plane.decode

    def count(plane: tiff_plane.Plane, index: int, file: OpenFile) -> Any:
        counts[index] += 1
        return decode(plane, index, file)

    monkeypatch.setattr(tile_levels, "CACHE_BYTES", 1000)
    monkeypatch.setattr(tiff_plane.Plane, "decode", count)
    reader = open_reader(path)
    assert reader is not None
    for x in range(0, 500, 100):
        assert np.array_equal(pixels(reader, 0, Box(x, 50, 100, 100)), PICTURE[50:150, x : x + 100])
    assert set(counts) == set(range(50, 150)) and set(counts.values()) == {1}


def test_each_tile_is_decoded_once(tmp_path: Path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", compression="zstd")
    with open_slide(path) as slide:
        grid = np.array([(x, y) for y in range(10, 280, 64) for x in range(10, 400, 64)])
        tiles = slide.read_tiles(grid, span0=64, tile_px=64, num_threads=3)
    for (x, y), tile in zip(grid, tiles, strict=True):
        assert np.array_equal(tile, PICTURE[y : y + 64, x : x + 64])
