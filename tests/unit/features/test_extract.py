"""Extraction: right tiles, counted reads, a cache that is only used when it fits, no lost work."""

from __future__ import annotations

import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_tissue, write_pyramid
from fakes import MeanColourEncoder
from hypothesis import given
from hypothesis import strategies as st

from ruichat.errors import ArtifactError, ConfigError, InputError, ModelError
from ruichat.features import extract as module
from ruichat.features.bag import FeatureBag
from ruichat.features.extract import ExtractConfig, cache_key, extract
from ruichat.slide.grid import GridConfig
from ruichat.slide.opening import open_slide
from ruichat.slide.sandbox import start_ahead
from ruichat.slide.slide import Slide

TILE_PX = 32
CONFIG = ExtractConfig.for_encoder(MeanColourEncoder(tile_px=TILE_PX).card)


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    """512 x 384 px of tissue at 0.5 um/px: 16 x 12 tiles of 32 px."""
    return write_pyramid(tmp_path / "tissue.tif", draw_tissue(512, 384), mpp=0.5)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_TILES", 40)
    monkeypatch.setattr(module, "BATCH_TILES", 16)


def encoder(**settings: object) -> MeanColourEncoder:
    return MeanColourEncoder(tile_px=TILE_PX, **settings)  # type: ignore[arg-type]


def test_every_tile_is_read_once_and_embedded_in_place(tiff: Path) -> None:
    fake = encoder()
    with open_slide(tiff) as slide:
        bag = extract(slide, fake, CONFIG, cache=None)
        assert slide.counts.tiles == 192
        tiles = slide.read_tiles(bag.xy0, span0=bag.span0, tile_px=TILE_PX)
    assert len(bag) == 192
    assert fake.tiles == 192
    assert np.array_equal(bag.embeddings, encoder().encode(tiles))
    assert bag.tissue_area_mm2 == pytest.approx(512 * 384 * 0.25e-6, rel=0.02)
    assert bag.slide_digest and bag.fingerprint == CONFIG.fingerprint()


def test_a_second_extraction_reads_and_encodes_nothing(tiff: Path, tmp_path: Path) -> None:
    fake = encoder()
    with open_slide(tiff) as slide:
        first = extract(slide, fake, CONFIG, cache=tmp_path / "cache")
    again = encoder()
    seen: list[tuple[int, int]] = []
    with open_slide(tiff) as slide:
        second = extract(
            slide,
            again,
            CONFIG,
            cache=tmp_path / "cache",
            progress=lambda done, total: seen.append((done, total)),
        )
        assert (slide.counts.tiles, slide.counts.boxes) == (0, 0)
    assert (again.calls, seen) == (0, [(192, 192)])
    assert np.array_equal(first.embeddings, second.embeddings)
    assert len(list((tmp_path / "cache" / "bags").glob("*.h5"))) == 1


def test_a_cached_bag_needs_no_lock(tiff: Path, tmp_path: Path) -> None:
    """A cache that others filled may be read-only."""
    with open_slide(tiff) as slide:
        extract(slide, encoder(), CONFIG, cache=tmp_path / "cache")
        (lock,) = (tmp_path / "cache" / "bags").glob("*.lock")
        lock.unlink()
        assert len(extract(slide, encoder(), CONFIG, cache=tmp_path / "cache")) == 192
    assert not lock.exists()


def test_two_who_want_the_same_bag_make_it_once(tiff: Path, tmp_path: Path) -> None:
    fakes = [encoder(), encoder()]

    def run(fake: MeanColourEncoder) -> int:
        with open_slide(tiff) as slide:
            return len(extract(slide, fake, CONFIG, cache=tmp_path / "cache"))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, fakes)) == [192, 192]
    assert sorted(fake.tiles for fake in fakes) == [0, 192]


@pytest.mark.parametrize("fail_after", [0, 16, 47, 100, 170])
def test_an_interrupted_extraction_goes_on(fail_after: int, tiff: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    broken = encoder(fail_after=fail_after)
    with open_slide(tiff) as slide, pytest.raises(KeyboardInterrupt):
        extract(slide, broken, CONFIG, cache=cache)
    kept = broken.tiles // 48 * 48  # three batches: the first that reach the size of a shard
    seen: list[int] = []
    resumed = encoder()
    with open_slide(tiff) as slide:
        bag = extract(
            slide, resumed, CONFIG, cache=cache, progress=lambda done, _: seen.append(done)
        )
        assert slide.counts.tiles == 192 - kept
        whole = extract(slide, encoder(), CONFIG, cache=None)
    assert resumed.tiles == 192 - kept
    assert seen[0] == kept and seen[-1] == 192 and seen == sorted(seen)
    for name in ("embeddings", "focus", "hematoxylin", "eosin", "xy0"):
        assert np.array_equal(getattr(bag, name), getattr(whole, name))
    assert not list(cache.rglob("*part*")) and not list(cache.rglob("*.shard"))


def test_a_damaged_shard_or_bag_is_made_again(tiff: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with open_slide(tiff) as slide, pytest.raises(KeyboardInterrupt):
        extract(slide, encoder(fail_after=100), CONFIG, cache=cache)
    shard = min(cache.rglob("*.shard"))
    shard.write_bytes(shard.read_bytes()[:-5])
    resumed = encoder()
    with open_slide(tiff) as slide:
        bag = extract(slide, resumed, CONFIG, cache=cache)
    assert resumed.tiles == 192 - 48
    file = next((cache / "bags").glob("*.h5"))
    file.write_bytes(file.read_bytes()[:-5])
    with open_slide(tiff) as slide:
        again = extract(slide, encoder(), CONFIG, cache=cache)
    assert np.array_equal(again.embeddings, bag.embeddings)


def test_other_weights_settings_or_resolution_never_share_a_bag(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "no-mpp.tif", draw_tissue(512, 384), mpp=None)
    sparse = CONFIG.model_copy(update={"grid": GridConfig(tile_px=TILE_PX, min_tissue=0.5)})
    with open_slide(path, mpp=0.5) as slide, open_slide(path, mpp=0.4) as finer:
        keys = {
            cache_key(slide, encoder(), CONFIG),
            cache_key(slide, encoder(weights="2"), CONFIG),
            cache_key(slide, encoder(name="other"), CONFIG),
            cache_key(slide, encoder(), sparse),
            cache_key(finer, encoder(), CONFIG),
        }
    assert len(keys) == 5


def test_a_cache_made_by_another_encoder_is_refused_naming_both(tiff: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with open_slide(tiff) as slide:
        bag = extract(slide, encoder(weights="old"), CONFIG, cache=None)
        bag.save(cache / "bags" / f"{cache_key(slide, encoder(), CONFIG)}.h5")
        with pytest.raises(ArtifactError, match=r"made by encoder 'mean-colour'.*wanted is"):
            extract(slide, encoder(), CONFIG, cache=cache)


def test_a_full_disk_is_an_error_with_a_remedy_and_work_goes_on_after(
    tiff: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    start_ahead()  # memory shared with a decoder counts as a file
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
    try:
        with open_slide(tiff) as slide, pytest.raises(ArtifactError, match="disk is full"):
            extract(slide, encoder(), CONFIG, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    resumed = encoder()
    with open_slide(tiff) as slide:
        assert len(extract(slide, resumed, CONFIG, cache=cache)) == 192
    assert resumed.tiles < 192


def test_no_reader_thread_outlives_a_failure(tiff: Path) -> None:
    with open_slide(tiff) as slide, pytest.raises(KeyboardInterrupt):
        extract(slide, encoder(fail_after=16), CONFIG, cache=None)
    assert "tile-reader" not in {thread.name for thread in threading.enumerate()}


def test_an_error_while_reading_tiles_reaches_the_caller(
    tiff: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InputError("damaged at 3,4", hint="Copy it again")

    monkeypatch.setattr(Slide, "read_tiles", fail)
    with open_slide(tiff) as slide, pytest.raises(InputError, match="damaged at 3,4"):
        extract(slide, encoder(), CONFIG, cache=None)


def test_config_and_encoder_must_fit(tiff: Path) -> None:
    with open_slide(tiff) as slide:
        with pytest.raises(ConfigError, match="names encoder 'mini'"):
            extract(slide, encoder(), ExtractConfig(), cache=None)
        with pytest.raises(ConfigError, match=r"32 px at 0\.5.*224 px"):
            extract(slide, encoder(), ExtractConfig(encoder="mean-colour"), cache=None)


def test_an_encoder_that_breaks_its_promise_is_named(
    tiff: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = encoder()
    monkeypatch.setattr(fake, "encode", lambda tiles: np.zeros((len(tiles), 9), np.float32))
    with open_slide(tiff) as slide, pytest.raises(ModelError, match="mean-colour"):
        extract(slide, fake, CONFIG, cache=None)


def test_warnings_of_the_slide_are_in_the_bag(tiff: Path) -> None:
    with open_slide(tiff, mpp=0.25) as slide:
        bag = extract(slide, encoder(), CONFIG, cache=None)
    assert "contradicts" in bag.warnings[0]
    assert isinstance(bag, FeatureBag)


def test_a_cached_bag_warns_of_what_was_given_now(tiff: Path, tmp_path: Path) -> None:
    found: list[tuple[str, ...]] = []
    for mpp in (0.25, None, 1.0):
        with open_slide(tiff, mpp=mpp) as slide:
            found.append(extract(slide, encoder(), CONFIG, cache=tmp_path / "cache").warnings)
            assert found[-1] == slide.warnings
    assert [len(warnings) for warnings in found] == [1, 0, 1]
    assert len(list((tmp_path / "cache" / "bags").glob("*.h5"))) == 1


@given(num=st.integers(1, 2000))
def test_batches_cover_a_shard_once(num: int) -> None:
    batches = module._batches(7, 7 + num)  # pyright: ignore[reportPrivateUsage]
    assert [i for first, end in batches for i in range(first, end)] == list(range(7, 7 + num))


def test_inked_tiles_are_not_encoded_and_the_bag_says_so(tmp_path: Path) -> None:
    picture = draw_tissue(1024, 768)
    ink = (slice(192, 576), slice(256, 704))
    picture[ink] = (picture[ink] * (0.25, 0.45, 0.75)).astype(np.uint8)
    fake = encoder()
    with open_slide(write_pyramid(tmp_path / "inked.tif", picture, mpp=0.5)) as slide:
        bag = extract(slide, fake, CONFIG, cache=tmp_path)
        assert fake.tiles == slide.counts.tiles == len(bag)
    middles = bag.xy0 + TILE_PX // 2
    inside = (middles > (320, 256)).all(1) & (middles < (640, 512)).all(1)
    assert not inside.any() and len(bag) > 500
    assert any("tiles left out: pen" in said for said in bag.warnings)
