"""Reading pixels: right ones, at the right scale, white outside, the same in strips as alone."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_tissue, slide_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.slide.geometry import Box
from ruichat.slide.mpp import MppChoice
from ruichat.slide.opening import open_slide
from ruichat.slide.openslide_reader import strips
from ruichat.slide.plain_reader import PlainReader
from ruichat.slide.slide import Slide
from ruichat.units import Region0

PICTURE = draw_tissue(300, 200, seed=3)


def test_level_0_pixels_come_back_unchanged(tissue_tiff: Path) -> None:
    picture = draw_tissue(700, 520, margin=60)
    with open_slide(tissue_tiff) as slide:
        got = slide.read(Region0(100, 80, 300, 200), mpp=0.5)
    assert np.array_equal(got, picture[80:280, 100:400])


@pytest.mark.parametrize(("span0", "first"), [(64, 0), (64, -1), (100, 3), (128, 0), (130, 400)])
@pytest.mark.parametrize("has_room", [True, False])
def test_tiles_read_together_are_those_read_in_regions(
    span0: int, first: int, has_room: bool, tissue_tiff: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All on one level, over its edge, resampled; into shared memory and outside of it."""
    xy0 = np.array([(x, y) for y in (60, 124, 5) for x in (first, first + 200, 130)], np.int64)
    with open_slide(tissue_tiff) as slide:
        if not has_room:
            monkeypatch.setattr(slide, "_new_array", lambda shape: np.empty(shape, np.uint8))
        for threads in (1, 2):
            tiles = slide.read_tiles(xy0, span0=span0, tile_px=64, num_threads=threads)
            for (x, y), tile in zip(xy0.tolist(), tiles, strict=True):
                alone = slide.read(Region0(x, y, span0, span0), mpp=0.5 * span0 / 64)
                np.testing.assert_array_equal(tile, alone)
        assert slide.counts.tiles == 18
        assert slide.read_tiles(xy0[:0], span0=span0, tile_px=64).shape == (0, 64, 64, 3)


def test_a_coarser_level_is_read_where_it_serves(tissue_tiff: Path) -> None:
    with open_slide(tissue_tiff) as slide:
        assert slide.level_downsamples == pytest.approx((1, 2, 4))
        got = slide.read(Region0(0, 0, 700, 520), mpp=2.0)
    assert np.array_equal(got, draw_tissue(700, 520, margin=60)[::4, ::4])


def test_whole_factors_average_exact_squares() -> None:
    got = slide_of(PICTURE).read(Region0(0, 0, 300, 200), mpp=1.0).astype(float)
    squares = PICTURE.reshape(100, 2, 150, 2, 3).mean(axis=(1, 3))
    assert np.abs(got - squares).max() <= 0.5


@settings(max_examples=50)
@given(
    x=st.integers(-400, 400),
    y=st.integers(-300, 300),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
)
def test_outside_the_slide_is_white(x: int, y: int, width: int, height: int) -> None:
    got = slide_of(PICTURE).read(Region0(x, y, width, height), mpp=0.5)
    want = np.full((height + 1200, width + 1200, 3), 255, np.uint8)
    want[600:800, 600:900] = PICTURE
    top, left = 600 + y, 600 + x
    whole = np.full((2000, 2000, 3), 255, np.uint8)
    whole[600:800, 600:900] = PICTURE
    assert np.array_equal(got, whole[top : top + height, left : left + width])


@settings(max_examples=30)
@given(
    columns=st.integers(1, 12),
    pitch=st.integers(10, 24),
    mpp=st.sampled_from([0.25, 0.23, 0.5, 0.7]),
)
def test_a_strip_gives_the_same_tiles_as_reading_each(columns: int, pitch: int, mpp: float) -> None:
    slide = slide_of(PICTURE, mpp=mpp)
    xy0 = np.array([[x * pitch, y * 20] for y in range(3) for x in range(columns)], np.int64)
    together = slide.read_tiles(xy0, span0=20, tile_px=16)
    alone = [slide.read_tile(int(x), int(y), span0=20, tile_px=16) for x, y in xy0]
    assert np.array_equal(together, np.stack(alone))


@given(
    xs=st.lists(st.integers(0, 2000), min_size=1, max_size=40, unique=True).map(sorted),
    split=st.integers(0, 40),
)
def test_strips_cover_all_tiles_once_and_stay_in_a_row(xs: list[int], split: int) -> None:
    boxes = [Box(x, 0 if i < split else 50, 50, 50) for i, x in enumerate(xs)]
    runs = list(strips(boxes))
    assert [i for run in runs for i in run] == list(range(len(boxes)))
    for run in runs:
        assert 1 <= len(run) <= 8
        assert len({boxes[i].y for i in run}) == 1
        assert all(boxes[i].x - boxes[i - 1].x <= 50 for i in run[1:])


def test_large_regions_are_read_in_blocks_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = slide_of(PICTURE).read(Region0(0, 0, 300, 200), mpp=1.0)
    monkeypatch.setattr("ruichat.slide.slide.MAX_BLOCK_PX", 5000)
    slide = slide_of(PICTURE)
    assert np.array_equal(slide.read(Region0(0, 0, 300, 200), mpp=1.0), whole)
    assert slide.counts.boxes > 5


def test_reads_are_counted() -> None:
    slide = slide_of(PICTURE)
    slide.read_tiles(np.array([[0, 0], [50, 0], [0, 50]], np.int64), span0=50, tile_px=25)
    assert (slide.counts.tiles, slide.counts.boxes) == (3, 3)


def test_the_digest_is_of_the_bytes(tissue_tiff: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other-name.tif"
    copy.write_bytes(tissue_tiff.read_bytes())
    with open_slide(tissue_tiff) as one, open_slide(copy) as two:
        assert one.digest == two.digest
        assert len(one.digest) == 64
    copy.write_bytes(tissue_tiff.read_bytes() + b"\0")
    with open_slide(copy) as three:
        assert three.digest != one.digest


def test_threads_may_read_one_slide(tissue_tiff: Path) -> None:
    want = draw_tissue(700, 520, margin=60)[100:200, 100:200]
    wrong: list[int] = []

    def work(slide: Slide) -> None:
        for _ in range(20):
            if not np.array_equal(slide.read(Region0(100, 100, 100, 100), mpp=0.5), want):
                wrong.append(1)

    with open_slide(tissue_tiff) as slide:
        threads = [threading.Thread(target=work, args=(slide,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert slide.counts.boxes == 80
    assert not wrong


def test_whatever_a_decoder_raises_becomes_an_input_error() -> None:
    class Broken(PlainReader):
        def read_many(self, *args: object, **settings: object) -> None:
            raise struct_error

    struct_error = ValueError("bad Huffman code")
    slide = Slide(
        Path("x.svs"), Broken(PICTURE, "svs", (), None), MppChoice(0.5, "file", 0.5, None)
    )
    with pytest.raises(InputError, match=r"x\.svs is damaged.*bad Huffman code"):
        slide.thumbnail()
