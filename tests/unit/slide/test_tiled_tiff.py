"""The direct path: OpenSlide's pixels, each tile decoded once, else OpenSlide steps in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from drawn import draw_tissue
from numpy.typing import NDArray
from PIL import Image

from ruichat.slide import tiled_tiff
from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import Box
from ruichat.slide.mpp import MppChoice
from ruichat.slide.openslide_reader import open_reader as open_with_openslide
from ruichat.slide.slide import Slide
from ruichat.slide.tiff import Directory
from ruichat.slide.tile_codecs import Decode
from ruichat.slide.tiled_tiff import CACHE_BYTES, TiledTiffReader, open_reader

PICTURE = draw_tissue(700, 520, margin=40, seed=5)
JPEG = {"compression": "jpeg", "compressionargs": {"level": 85}}
CODINGS: dict[str, dict[str, Any]] = {
    "raw": {"photometric": "rgb"},
    "lzw": {"photometric": "rgb", "compression": "lzw"},
    "lzw with differences": {"photometric": "rgb", "compression": "lzw", "predictor": True},
    "deflate": {"photometric": "rgb", "compression": "zlib"},
    "deflate with differences": {"photometric": "rgb", "compression": "zlib", "predictor": True},
    "JPEG of RGB": {"photometric": "rgb", **JPEG},
    "JPEG, chroma whole": {"photometric": "ycbcr", "subsampling": (1, 1), **JPEG},
    "JPEG, chroma halved": {"photometric": "ycbcr", "subsampling": (2, 1), **JPEG},
    "JPEG, chroma quartered": {"photometric": "ycbcr", "subsampling": (2, 2), **JPEG},
    "JPEG 2000": {
        "photometric": "rgb",
        "compression": "aperio_jp2000_rgb",
        "description": "Aperio Image Library v11.2.1|MPP = 0.5",
    },
}
BOXES = [
    Box(0, 0, 64, 64),
    Box(64, 128, 64, 64),
    Box(30, 40, 64, 64),
    Box(10, 20, 300, 200),
    Box(0, 0, 700, 520),
    Box(690, 510, 10, 10),
    Box(639, 0, 61, 520),
]


def write(path: Path, *, bigtiff: bool = False, byteorder: str = "<", **coding: Any) -> Path:
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as tiff:  # type: ignore[arg-type]
        for step in (1, 2):
            tiff.write(PICTURE[::step, ::step], tile=(64, 64), metadata=None, **coding)
    return path


def opened(path: Path) -> TiledTiffReader:
    reader = open_reader(path)
    assert isinstance(reader, TiledTiffReader)
    return reader


def pixels(reader: Any, level: int, box: Box) -> NDArray[np.uint8]:
    out = np.zeros((box.height, box.width, 3), np.uint8)
    reader.read_many(level, [box], [out])
    return out


def share_alike(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
    """Share of values that agree within two grey levels."""
    return float((np.abs(one.astype(int) - two) <= 2).mean())


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS.keys())
def test_the_pixels_are_openslides(coding: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", **coding)
    ours, theirs = opened(path), open_with_openslide(path)
    assert theirs is not None and ours.level_sizes == theirs.level_sizes
    for level, (width, height) in enumerate(ours.level_sizes):
        assert ours.direct_table(level) is not None, "the level is left to OpenSlide"
        for box in BOXES:
            inside = Box(
                min(box.x, width - 1),
                min(box.y, height - 1),
                min(box.width, width - min(box.x, width - 1)),
                min(box.height, height - min(box.y, height - 1)),
            )
            got, want = pixels(ours, level, inside), pixels(theirs, level, inside)
            assert share_alike(got, want) >= 0.999, (level, inside)
    ours.close()
    theirs.close()


@pytest.mark.parametrize(("bigtiff", "byteorder"), [(False, "<"), (True, "<"), (True, ">")])
def test_either_kind_of_tiff_in_either_byte_order(
    bigtiff: bool, byteorder: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.tif", bigtiff=bigtiff, byteorder=byteorder, photometric="rgb")
    reader = opened(path)
    assert np.array_equal(pixels(reader, 0, Box(5, 6, 200, 100)), PICTURE[6:106, 5:205])
    reader.close()


@pytest.mark.slides
@pytest.mark.parametrize(
    "name",
    [
        "CMU-1-Small-Region.svs",
        "tcga-cr-7395-01a-01-ts1.svs",
        "derived_bcss_1008_breast.tif",
        "derived_bcss_1015_breast.tif",
    ],
)
def test_on_real_slides_the_pixels_are_openslides(name: str, shared_data: Path) -> None:
    path = shared_data / "slides" / name
    ours, theirs = opened(path), open_with_openslide(path)
    assert theirs is not None and ours.direct_table(0) is not None
    rng = np.random.default_rng(0)
    width, height = ours.level_sizes[0]
    for _ in range(20):
        side = int(rng.integers(1, 600))
        box = Box(
            int(rng.integers(0, width - side)), int(rng.integers(0, height - side)), side, side
        )
        assert share_alike(pixels(ours, 0, box), pixels(theirs, 0, box)) >= 0.999, box
    ours.close()
    theirs.close()


@pytest.fixture
def count_decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How often the tile of those bytes was decoded."""
    counts: Counter[bytes] = Counter()
    choose = tiled_tiff.choose_decoder

    def counting(directory: Directory) -> Decode | None:
        decode = choose(directory)
        assert decode is not None

        def count(data: bytes, out: Bytes) -> None:
            counts[data] += 1
            decode(data, out)

        return count

    monkeypatch.setattr(tiled_tiff, "choose_decoder", counting)
    return counts


@pytest.mark.parametrize("num_threads", [1, 4])
@pytest.mark.parametrize("offset", [0, 20])
def test_each_tile_of_the_file_is_decoded_once(
    num_threads: int, offset: int, tmp_path: Path, count_decodes: Counter[bytes]
) -> None:
    path = write(tmp_path / "a.tif", photometric="rgb", resolution=(20000, 20000), resolutionunit=3)
    grid = [(x, y) for y in range(offset, 440, 64) for x in range(offset, 600, 64)]
    with Slide(path, opened(path), MppChoice(0.5, "user", None, None)) as slide:
        slide.read_tile(0, 0, span0=64, tile_px=64)  # the level proves itself
        count_decodes.clear()
        tiles = slide.read_tiles(
            np.array(grid, np.int64), span0=64, tile_px=64, num_threads=num_threads
        )
    assert set(count_decodes.values()) == {1}
    for (x, y), tile in zip(grid, tiles, strict=True):
        assert np.array_equal(tile, PICTURE[y : y + 64, x : x + 64])


def test_the_cache_holds_no_more_than_it_may() -> None:
    cache = tiled_tiff.DecodedTiles(10 * 3 * 64 * 64)
    made: list[int] = []

    def make(i: int) -> Callable[[], Bytes]:
        def decode() -> Bytes:
            made.append(i)
            return np.full((64, 64, 3), i, np.uint8)

        return decode

    for i in range(30):
        assert cache.get((0, i), make(i))[0, 0, 0] == i
    for i in range(20, 30):
        cache.get((0, i), make(i))
    assert made == list(range(30))
    cache.get((0, 5), make(5))
    assert made[-1] == 5
    assert CACHE_BYTES >= 400 * 3 * 256 * 256, "a row of a slide 100,000 px wide"


def test_a_tile_that_fails_once_is_tried_again() -> None:
    cache = tiled_tiff.DecodedTiles(1 << 20)

    def fail() -> Bytes:
        raise ValueError("bad Huffman code")

    with pytest.raises(ValueError, match="Huffman"):
        cache.get((0, 0), fail)
    assert cache.get((0, 0), lambda: np.ones((2, 2, 3), np.uint8)).all()


def test_tiles_that_the_scanner_left_out_are_openslides(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags["TileByteCounts"]  # type: ignore[union-attr]
        with path.open("r+b") as file:
            file.seek(tag.valueoffset)
            file.write(b"\0" * 4)
    ours, theirs = opened(path), open_with_openslide(path)
    for box in (Box(0, 0, 64, 64), Box(32, 32, 64, 64)):
        assert np.array_equal(pixels(ours, 0, box), pixels(theirs, 0, box))


def test_a_level_whose_pixels_differ_is_left_to_openslide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.tif", photometric="rgb")

    def inverting(directory: Directory) -> Decode:
        def decode(data: bytes, out: Bytes) -> None:
            out[:] = 255 - np.frombuffer(data, np.uint8).reshape(out.shape)

        return decode

    monkeypatch.setattr(tiled_tiff, "choose_decoder", inverting)
    reader = opened(path)
    assert np.array_equal(pixels(reader, 0, Box(5, 6, 200, 100)), PICTURE[6:106, 5:205])
    assert reader.direct_table(0) is None


@pytest.mark.parametrize(
    "coding",
    [
        {"photometric": "rgb", "planarconfig": "separate"},
        {"photometric": "minisblack"},
    ],
)
def test_a_coding_that_is_not_known_is_left_to_openslide(
    coding: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    data = PICTURE.transpose(2, 0, 1) if "planarconfig" in coding else PICTURE[..., 0]
    tifffile.imwrite(path, data, tile=(64, 64), **coding)
    reader = open_reader(path)
    assert not isinstance(reader, TiledTiffReader)


def smooth_slide(path: Path, *, steps: tuple[int, ...] = (1,), **coding: Any) -> Path:
    """Gentle colours, whose averages don't hang on how they are made."""
    y, x = np.mgrid[:520, :700]
    rgb = (60 + np.stack([x / 4, y / 3, (x + y) / 7], axis=-1)).astype(np.uint8)
    ycbcr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))  # tifffile converts nothing
    with tifffile.TiffWriter(path) as tiff:
        for step in steps:
            kind = {"photometric": "ycbcr", "subfiletype": int(step > 1), **JPEG, **coding}
            tiff.write(ycbcr[::step, ::step], tile=(64, 64), metadata=None, **kind)
    return path


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_jpeg_is_reduced_while_it_is_decoded(
    factor: int, subsampling: tuple[int, int], tmp_path: Path
) -> None:
    path = smooth_slide(tmp_path / "a.tif", subsampling=subsampling)
    reader = opened(path)
    assert reader.reductions == ((2, 4, 8),)
    whole = pixels(reader, 0, Box(0, 0, 700, 520)).astype(float)
    width, height = 700 // factor, 520 // factor
    out = np.zeros((height, width, 3), np.uint8)
    reader.read_reduced(0, factor, [Box(0, 0, width, height)], [out])
    blocks = whole[: height * factor, : width * factor]
    means = blocks.reshape(height, factor, width, factor, 3).mean((1, 3))
    inside = np.abs(out - means)[:-1, :-1]  # beyond the edge lies what the encoder put there
    assert inside.mean() < 0.6 and np.quantile(inside, 0.999) < 4
    part = np.zeros((20, 30, 3), np.uint8)
    reader.read_reduced(0, factor, [Box(11, 7, 30, 20)], [part])
    assert np.array_equal(part, out[7:27, 11:41])
    reader.close()


def test_a_slide_is_read_from_reduced_tiles_where_no_level_is_stored(
    tmp_path: Path, count_decodes: Counter[bytes]
) -> None:
    path = smooth_slide(tmp_path / "a.tif")
    with Slide(path, opened(path), MppChoice(0.25, "user", None, None)) as slide:
        assert slide.level_downsamples == (1.0,)
        count_decodes.clear()
        tiles = slide.read_tiles(np.array([[64, 128], [300, 200]]), span0=128, tile_px=64)
        view = slide.read(slide.bounds0, mpp=4.0)
        assert not count_decodes, "whole tiles were decoded"
    y, x = np.mgrid[128:256, 64:192]
    wanted = 60 + np.array([x.mean() / 4, y.mean() / 3, (x + y).mean() / 7])
    assert np.allclose(tiles[0].mean((0, 1)), wanted, atol=2.5)
    assert view.shape == (32, 44, 3)


@pytest.mark.parametrize("coding", ["raw", "JPEG 2000", "lzw"])
def test_other_codings_are_decoded_whole(coding: str, tmp_path: Path) -> None:
    reader = opened(write(tmp_path / "a.tif", **CODINGS[coding]))
    assert not any(reader.reductions)
    reader.close()


def test_a_stored_level_goes_before_a_reduced_one(tmp_path: Path) -> None:
    path = smooth_slide(tmp_path / "a.tif", steps=(1, 2))
    stored, reader = opened(path), opened(path)
    asked: list[tuple[int, int]] = []
    reader.read_reduced = lambda level, factor, *_, **__: asked.append((level, factor))  # type: ignore[method-assign]
    with Slide(path, reader, MppChoice(0.5, "user", None, None)) as slide:
        half = slide.read(slide.bounds0, mpp=1.0)
        assert np.array_equal(half, pixels(stored, 1, Box(0, 0, 350, 260))) and not asked
        slide.read(slide.bounds0, mpp=4.0)
        assert asked == [(1, 4)]
    stored.close()


@pytest.mark.slides
@pytest.mark.parametrize(
    "name",
    ["CMU-1-Small-Region.svs", "derived_bcss_1008_breast.tif", "derived_bcss_1015_breast.tif"],
)
def test_on_real_slides_reduced_pixels_are_near_averages(name: str, shared_data: Path) -> None:
    reader = opened(shared_data / "slides" / name)
    whole = pixels(reader, 0, Box(256, 256, 1024, 1024)).astype(float)
    for factor in reader.reductions[0]:
        side = 1024 // factor
        out = np.zeros((side, side, 3), np.uint8)
        box = Box(256 // factor, 256 // factor, side, side)
        reader.read_reduced(0, factor, [box], [out])
        means = whole.reshape(side, factor, side, factor, 3).mean((1, 3))
        assert np.abs(out - means).mean() < 1.5, factor
    reader.close()
