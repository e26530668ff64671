"""Tiles cover every pixel once, and lie where Deep Zoom says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openslide.deepzoom import DeepZoomGenerator

from ruichat.errors import NotFoundError
from ruichat.serve.slides.addressing import DeepZoom, choose_tile_px

sides = st.integers(1, 4_000_000)
tile_sides = st.sampled_from([128, 240, 256, 512])


@given(width=sides, height=sides, tile_px=tile_sides, data=st.data())
def test_each_pixel_lies_in_just_one_tile_of_each_level(
    width: int, height: int, tile_px: int, data: st.DataObject
) -> None:
    zoom = DeepZoom(width, height, tile_px)
    level = data.draw(st.integers(0, zoom.num_levels - 1))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    factor = zoom.factor(level)
    column, row = x // factor // tile_px, y // factor // tile_px
    columns, rows = zoom.grid(level)
    owners = [
        (c, r)
        for c in range(max(0, column - 2), min(columns, column + 3))
        for r in range(max(0, row - 2), min(rows, row + 3))
        if _holds(zoom, level, c, r, x, y)
    ]
    assert owners == [(column, row)]


def _holds(zoom: DeepZoom, level: int, column: int, row: int, x: int, y: int) -> bool:
    region = zoom.region0(level, column, row)
    return region.x <= x < region.x + region.width and region.y <= y < region.y + region.height


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), tile_px=tile_sides)
def test_the_tiles_of_a_level_tile_it(width: int, height: int, tile_px: int) -> None:
    zoom = DeepZoom(width, height, tile_px)
    for level in range(zoom.num_levels):
        columns, rows = zoom.grid(level)
        boxes = [zoom.box(level, c, r) for c in range(columns) for r in range(rows)]
        assert sum(box.width * box.height for box in boxes) == math.prod(zoom.size(level))
        assert all(0 < box.width <= tile_px and 0 < box.height <= tile_px for box in boxes)
    assert zoom.size(0) == (1, 1) and zoom.size(zoom.num_levels - 1) == (width, height)


class _Sized:
    """As much of an OpenSlide as its own deep-zoom arithmetic asks for."""

    def __init__(self, width: int, height: int) -> None:
        self.level_dimensions = ((width, height),)
        self.level_downsamples = (1.0,)
        self.dimensions = (width, height)
        self.properties: dict[str, str] = {}

    def get_best_level_for_downsample(self, downsample: float) -> int:
        return 0


@given(width=sides, height=sides, tile_px=tile_sides)
def test_levels_and_grids_are_those_of_openslides_generator(
    width: int, height: int, tile_px: int
) -> None:
    zoom = DeepZoom(width, height, tile_px)
    theirs = DeepZoomGenerator(_Sized(width, height), tile_px, 0)  # type: ignore[arg-type]
    assert tuple(zoom.size(n) for n in range(zoom.num_levels)) == theirs.level_dimensions
    assert tuple(zoom.grid(n) for n in range(zoom.num_levels)) == theirs.level_tiles


@given(
    width=sides,
    level=st.integers(-9, 99),
    column=st.integers(-9, 1 << 40),
    row=st.integers(-9, 1 << 40),
)
def test_what_is_not_there_is_not_found(width: int, level: int, column: int, row: int) -> None:
    zoom = DeepZoom(width, 7 * width)
    is_level = 0 <= level < zoom.num_levels
    columns, rows = zoom.grid(level) if is_level else (0, 0)
    if is_level and 0 <= column < columns and 0 <= row < rows:
        zoom.region0(level, column, row)
        return
    with pytest.raises(NotFoundError):
        zoom.region0(level, column, row)


@pytest.mark.parametrize(
    ("stored", "tile_px"),
    [(None, 256), ((240, 240), 240), ((512, 512), 512), ((240, 256), 256), ((4096, 4096), 256)],
)
def test_the_files_own_tiles_are_the_viewers_where_that_serves(
    stored: tuple[int, int] | None, tile_px: int
) -> None:
    assert choose_tile_px(stored) == tile_px
