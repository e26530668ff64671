"""Bags: tiles of their own split, of the class that the layout says, under one stain."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ruichat.errors import ArtifactError, InputError
from ruichat.histology import KEYS
from ruichat.truth.bags import BagMaker, LaidSlide, collate_bags
from ruichat.truth.bank import TileBank, encoder_of_bank
from ruichat.truth.symbolic import SymbolicConfig
from ruichat.truth.tiles import Split

LAYOUT = SymbolicConfig(max_regions=6, min_side=3, max_side=9)
SHOWN = ("carcinoma_nests", "stroma", "fat", "necrosis")
VIEWS, PER_CELL = 3, 5
ROW, VIEW, CLASS, PURE = range(4)


def make_bank() -> TileBank:
    """Windows whose embedding says their row, view, class and whether they show one class."""
    splits: tuple[Split, ...] = ("train", "val", "test")
    rows = [
        (KEYS.index(key), split, pure)
        for key in SHOWN
        for split in splits
        for pure in (True, False)
        for _ in range(PER_CELL)
        # Fat is never held out for calibration.
        if not (key == "fat" and split == "val")
    ]
    n = len(rows)
    embeddings = np.zeros((n, VIEWS, 4), np.float32)
    target = np.zeros((n, len(KEYS)), np.float32)
    for i, (index, _, pure) in enumerate(rows):
        target[i, index] = 1 if pure else 0.6
        target[i, KEYS.index("mucus")] += 0 if pure else 0.4
        embeddings[i, :, [ROW, CLASS, PURE]] = np.array([i, index, pure])[:, None]
    embeddings[:, :, VIEW] = np.arange(VIEWS)
    return TileBank(
        embeddings=embeddings,
        colour=embeddings[:, :, [ROW, VIEW, CLASS] * 2].copy(),
        target=target,
        partial=np.zeros(n, bool),
        source=np.full(n, "drawn"),
        group=np.arange(n).astype(np.str_),
        split=np.array([split for _, split, _ in rows]),
    )


BANK = make_bank()


def lay(split: Split = "train", num: int = 20, stains: int | None = None) -> list[LaidSlide]:
    maker = BagMaker(BANK, split, LAYOUT)
    rng = np.random.default_rng(0)
    return [maker.draw(rng, stains=stains) for _ in range(num)]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_tiles_come_from_pure_windows_of_the_split(split: Split) -> None:
    for slide in lay(split):
        rows = slide.embeddings[:, ROW].astype(int)
        assert set(BANK.split[rows]) == {split}
        assert slide.embeddings[:, PURE].all()


def test_regions_hold_what_their_tiles_are() -> None:
    for slide in lay():
        assert len(slide.embeddings) == len(slide.xy0) == slide.truth.num_tiles.sum()
        assert len(np.unique(slide.xy0, axis=0)) == len(slide.xy0)
        for region in range(slide.truth.num_regions):
            tiles = slide.embeddings[slide.regions.assignment == region, CLASS].astype(int)
            share = np.bincount(tiles, minlength=len(KEYS)) / len(tiles)
            np.testing.assert_allclose(slide.truth.fractions[region], share, atol=1e-6)


def test_a_slide_has_one_stain_and_slides_differ() -> None:
    views = [np.unique(slide.embeddings[:, VIEW]) for slide in lay()]
    assert all(len(view) == 1 for view in views)
    assert {int(view[0]) for view in views} == set(range(VIEWS))


def test_one_stain_is_tiles_as_they_are() -> None:
    for slide in lay(stains=1):
        assert not slide.embeddings[:, VIEW].any()


def test_colour_is_of_the_same_window_and_stain() -> None:
    for slide in lay(num=5):
        np.testing.assert_array_equal(slide.colour[:, :3], slide.embeddings[:, [ROW, VIEW, CLASS]])


def test_classes_without_windows_are_never_shown() -> None:
    maker = BagMaker(BANK, "val", LAYOUT)
    assert set(maker.classes) == set(SHOWN) - {"fat"}
    shown = {int(c) for slide in lay("val") for c in np.unique(slide.embeddings[:, CLASS])}
    assert shown == {KEYS.index(key) for key in maker.classes}


def test_the_same_seed_lays_the_same() -> None:
    for one, other in zip(lay(num=4), lay(num=4), strict=True):
        np.testing.assert_array_equal(one.embeddings, other.embeddings)
        np.testing.assert_array_equal(one.xy0, other.xy0)


def test_spread_is_of_the_splits_own_windows() -> None:
    pure = (BANK.split == "test") & (BANK.embeddings[:, 0, PURE] == 1)
    spread = BagMaker(BANK, "test", LAYOUT).spread
    np.testing.assert_allclose(spread.numpy(), BANK.embeddings[pure, 0].std(0), rtol=1e-5)


def test_a_split_without_windows_is_refused() -> None:
    bank = dataclasses.replace(BANK, split=np.full(len(BANK.split), "train"))
    with pytest.raises(InputError, match="no windows of split 'test'"):
        BagMaker(bank, "test", LAYOUT)


def test_batches_pad_behind_a_mask() -> None:
    slides = lay(num=3)
    batch = collate_bags(slides)
    assert len({len(slide.embeddings) for slide in slides}) > 1
    for i, slide in enumerate(slides):
        n, k = len(slide.embeddings), len(slide.regions)
        np.testing.assert_array_equal(batch.tile_embeddings[i, :n], slide.embeddings)
        np.testing.assert_array_equal(batch.tile_region[i, :n], slide.regions.assignment)
        np.testing.assert_array_equal(batch.region_geometry[i, :k], slide.regions.geometry)
        assert set(batch.tile_region[i, n:].tolist()) <= {-1}
        assert batch.region_mask[i].tolist() == [j < k for j in range(batch.region_mask.shape[1])]


def test_a_bank_is_read_as_it_was_saved(tmp_path: Path) -> None:
    BANK.save(tmp_path / "bank.npz")
    back = TileBank.load(tmp_path / "bank.npz")
    for name in TileBank.__slots__:
        np.testing.assert_array_equal(getattr(back, name), getattr(BANK, name))
    assert back.digest() == BANK.digest()
    assert encoder_of_bank(tmp_path / "bank.npz") == ""
    moved = dataclasses.replace(BANK, split=BANK.split[::-1])
    assert moved.digest() != BANK.digest()
    moved.save(tmp_path / "moved.npz", "ab12")
    assert encoder_of_bank(tmp_path / "moved.npz") == "ab12"


def test_what_is_no_bank_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bank.npz"
    BANK.save(path)
    cut = path.read_bytes()[:-200]
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    short = {name: getattr(BANK, name) for name in TileBank.__slots__} | {"split": BANK.split[1:]}
    TileBank(**short).save(tmp_path / "short.npz")
    for content in (cut, b"", (tmp_path / "other.npz").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="no bank of tiles"):
            TileBank.load(path)
    with pytest.raises(ArtifactError, match="don't fit each other"):
        TileBank.load(tmp_path / "short.npz")
