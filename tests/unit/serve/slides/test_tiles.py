"""Tiles: the pixels that reading gives, handed on where the file has them, each made once."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from drawn import write_pyramid
from house import PICTURE, House, write_jpeg_pyramid

from ruichat.errors import InputError, NotFoundError
from ruichat.serve.slides import tiles as tiles_module
from ruichat.serve.slides.tile_cache import TileCache
from ruichat.serve.slides.tiles import stored_level
from ruichat.slide.opening import open_slide
from ruichat.slide.slide import Slide
from ruichat.units import Region0


def decoded(house: House, slide_id: str, level: int, column: int, row: int) -> np.ndarray:
    shown = house.tiles.show(slide_id)
    data = house.tiles.fetch(slide_id, shown, level, column, row).result(30)
    assert house.tiles.cached(slide_id, shown, level, column, row) == data
    return simplejpeg.decode_jpeg(data)


@pytest.mark.parametrize("tile", [240, 256])
def test_every_tile_has_the_pixels_that_reading_gives(house: House, tile: int) -> None:
    path = write_jpeg_pyramid(house.folder / "a.tif", tile=tile)
    slide_id = house.add(path)
    zoom = house.tiles.show(slide_id).zoom
    assert (zoom.tile_px, zoom.width0, zoom.height0) == (tile, 900, 700)
    num_stored = 0
    with open_slide(path) as slide:
        for level in range(zoom.num_levels):
            columns, rows = zoom.grid(level)
            for column in range(columns):
                for row in range(rows):
                    got = decoded(house, slide_id, level, column, row)
                    region0 = zoom.region0(level, column, row)
                    want = slide.read(region0, mpp=slide.mpp.value * zoom.factor(level))
                    assert got.shape == want.shape
                    stored = stored_level(slide, zoom, level, column, row)
                    num_stored += stored is not None
                    if stored is None:  # encoded once more
                        want = simplejpeg.decode_jpeg(tiles_module.encode(want))
                    assert np.array_equal(got, want)
    assert num_stored == 7, "whole tiles of stored levels are handed on"


def test_the_tiles_of_the_finest_level_join_to_the_slide(house: House) -> None:
    slide_id = house.add(write_pyramid(house.folder / "a.tif", PICTURE, mpp=0.5))
    zoom = house.tiles.show(slide_id).zoom
    whole = np.zeros((700, 900, 3), np.uint8)
    for column in range(4):
        for row in range(3):
            box = zoom.box(zoom.num_levels - 1, column, row)
            tile = decoded(house, slide_id, zoom.num_levels - 1, column, row)
            whole[box.y : box.y + box.height, box.x : box.x + box.width] = tile
    assert np.abs(whole.astype(int) - PICTURE).mean() < 6


def test_a_slide_without_coarse_levels_is_read_once_for_them(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles_module, "MAX_READ_PX", 1000)
    monkeypatch.setattr(tiles_module, "OVERVIEW_PX", 450)
    slide_id = house.add(write_pyramid(house.folder / "a.tif", PICTURE, mpp=0.5, levels=1))
    zoom = house.tiles.show(slide_id).zoom
    level = zoom.num_levels - 3
    tile = decoded(house, slide_id, level, 0, 0)
    with house.library.open(slide_id) as slide:
        want = slide.read(zoom.region0(level, 0, 0), mpp=2.0)
        want = simplejpeg.decode_jpeg(tiles_module.encode(want))
    assert tile.shape == want.shape == (175, 225, 3)
    assert np.abs(tile.astype(int) - want).mean() < 3
    assert decoded(house, slide_id, 0, 0, 0).shape == (1, 1, 3)


def test_many_who_ask_at_once_get_one_tile(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    num_encoded, lock = 0, threading.Lock()
    encode = tiles_module.encode

    def count(pixels: np.ndarray) -> bytes:
        nonlocal num_encoded
        with lock:
            num_encoded += 1
        return encode(pixels)

    monkeypatch.setattr(tiles_module, "encode", count)
    slide_id = house.add(write_pyramid(house.folder / "a.tif", PICTURE, mpp=0.5))
    shown = house.tiles.show(slide_id)
    with ThreadPoolExecutor(16) as threads:
        got = set(
            threads.map(lambda _: house.tiles.fetch(slide_id, shown, 8, 0, 0).result(30), range(64))
        )
    assert (len(got), num_encoded) == (1, 1)


def test_a_tile_that_is_not_there_is_not_made(house: House) -> None:
    slide_id = house.add(write_pyramid(house.folder / "a.tif", PICTURE, mpp=0.5))
    shown = house.tiles.show(slide_id)
    for level, column, row in ((99, 0, 0), (10, 4, 0), (10, 0, -1)):
        with pytest.raises(NotFoundError):
            house.tiles.fetch(slide_id, shown, level, column, row)


def test_the_cache_keeps_what_was_used_last_and_no_more() -> None:
    with ThreadPoolExecutor(2) as threads:
        cache = TileCache(5000, threads)
        for i in range(40):
            cache.fetch((i,), lambda: b"x" * 800).result(5)
            cache.get((0,))
            assert cache.num_bytes <= 5000
        assert cache.get((0,)) is not None and cache.get((39,)) is not None
        assert cache.get((1,)) is None


def test_a_tile_that_fails_is_tried_again() -> None:
    def fail() -> bytes:
        raise InputError("damaged")

    with ThreadPoolExecutor(2) as threads:
        cache = TileCache(5000, threads)
        for _ in range(3):
            with pytest.raises(InputError):
                cache.fetch(("a",), fail).result(5)
        assert cache.fetch(("a",), lambda: b"sound").result(5) == b"sound"


def test_a_changed_file_gets_new_tiles(house: House) -> None:
    path = house.folder / "a.tif"
    slide_id = house.add(write_pyramid(path, PICTURE, mpp=0.5))
    first = decoded(house, slide_id, 9, 0, 0)
    os.replace(write_pyramid(house.folder / "b.tif", 255 - PICTURE, mpp=0.5), path)
    house.library.forget(slide_id)
    assert np.abs(decoded(house, slide_id, 9, 0, 0).astype(int) - first).mean() > 30


def kill_decoder(slide: Slide) -> None:
    os.kill(slide._reader._child._process.pid, signal.SIGABRT)  # type: ignore[attr-defined]


def test_a_decoder_that_dies_once_is_started_anew(house: House) -> None:
    slide_id = house.add(write_jpeg_pyramid(house.folder / "a.tif"))
    house.library.read(slide_id, kill_decoder)
    assert decoded(house, slide_id, 10, 0, 0).shape == (256, 256, 3)
    assert house.state(slide_id)[0] == "new"


def test_a_slide_that_breaks_its_decoder_twice_fails_and_others_go_on(house: House) -> None:
    bad, good = (house.add(write_jpeg_pyramid(house.folder / f"{n}.tif")) for n in "ab")

    def die(slide: Slide) -> None:
        kill_decoder(slide)
        slide.read(Region0(0, 0, 9, 9), mpp=0.5)

    with pytest.raises(InputError, match="breaks its decoder"):
        house.library.read(bad, die)
    assert house.state(bad)[0] == "failed"
    with pytest.raises(InputError, match="breaks its decoder"):
        house.tiles.show(bad)
    assert decoded(house, good, 10, 0, 0).shape == (256, 256, 3)


def test_long_work_on_a_slide_has_a_process_of_its_own(house: House) -> None:
    slide_id = house.add(write_jpeg_pyramid(house.folder / "a.tif"))
    with house.library.open(slide_id) as slide:
        work = slide._reader._child._process.pid  # type: ignore[attr-defined]
        seen = house.library.read(slide_id, lambda s: s._reader._child._process.pid)  # type: ignore[attr-defined]
        assert work != seen
        kill_decoder(slide)
        assert decoded(house, slide_id, 10, 0, 0).shape == (256, 256, 3)


def test_files_that_are_gone_or_lead_outside_are_not_opened(house: House, tmp_path: Path) -> None:
    outside = write_jpeg_pyramid(tmp_path / "outside.tif")
    link = house.folder / "link.tif"
    link.symlink_to(outside)
    for slide_id, error in (
        (house.add(link), InputError),
        (house.add(house.folder / "missing.tif"), NotFoundError),
        ("0" * 32, NotFoundError),
    ):
        with pytest.raises(error):
            house.tiles.show(slide_id)
