"""Labelled tiles: what a folder says is what the windows carry, and no group is in two splits."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ruichat.errors import InputError
from ruichat.histology import KEYS
from ruichat.truth.tiles import (
    MALIGNANT_ROW,
    WINDOW_PX,
    SourceConfig,
    TilePool,
    draw_pool,
    even_weights,
    join_pools,
    read_source,
)

CARCINOMA, NORMAL = KEYS.index("lung_adenocarcinoma"), KEYS.index("normal_lung")
LABELS = {"cancer": "lung_adenocarcinoma", "normal": "normal_lung"}


def write_image(
    path: Path, *, level: int = 200, size: tuple[int, int] = (WINDOW_PX, WINDOW_PX)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


def write_mask(path: Path, share: float, width: int = WINDOW_PX) -> None:
    """Its left part is marked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((width, width), np.uint8)
    mask[:, : round(share * width)] = 255
    Image.fromarray(mask).save(path, quality=95)


def write_listing(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def labelled(root: Path, num: int = 40, **columns: list[str]) -> Path:
    """Source "demo": images of `num` patients, two each, cancer and normal in turn."""
    folder = root / "tiles" / "demo"
    rows: list[dict[str, str]] = []
    for i in range(2 * num):
        file = f"images/p{i // 2}-{i % 2}.png"
        write_image(folder / file, level=i)
        rows.append({"file": file, "label": ("cancer", "normal")[i % 2]})
        rows[-1] |= {name: values[i] for name, values in columns.items()}
    write_listing(folder, rows)
    return root


DEMO = SourceConfig(name="demo", labels=LABELS, group=r"p(\d+)-")


def splits_of(pool: TilePool) -> dict[str, set[str]]:
    return {str(group): set(pool.split[pool.group == group]) for group in np.unique(pool.group)}


# Weights


def test_weights_favour_no_class_and_sources_by_the_root_of_their_size() -> None:
    source = np.array(["a"] * 90 + ["b"] * 10)
    main = np.array([0] * 80 + [1] * 10 + [2] * 10)
    weight = even_weights(source, main)
    assert weight.sum() == pytest.approx(1)
    assert weight[:80].sum() == pytest.approx(weight[80:90].sum())
    assert weight[:90].sum() / weight[90:].sum() == pytest.approx(3)
    assert np.ptp(weight[:80]) == 0


def test_emphasis_multiplies_a_source() -> None:
    source, main = np.array(["a", "a", "b", "b"]), np.array([0, 1, 0, 0])
    plain = even_weights(source, main)
    more = even_weights(source, main, {"b": 3.0})
    assert more[2:].sum() / more[:2].sum() == pytest.approx(3 * plain[2:].sum() / plain[:2].sum())


# Sources with labels.csv


def test_windows_carry_the_listed_class(tmp_path: Path) -> None:
    pool = read_source(DEMO, labelled(tmp_path, num=3))
    assert pool.rgb.shape == (6, WINDOW_PX, WINDOW_PX, 3)
    assert pool.rgb[:, 0, 0, 0].tolist() == list(range(6))
    assert pool.target.argmax(1).tolist() == [CARCINOMA, NORMAL] * 3
    np.testing.assert_array_equal(pool.target.max(1), 1)
    assert not pool.partial.any()
    assert set(pool.source) == {"demo"}


def test_no_group_is_in_two_splits(tmp_path: Path) -> None:
    pool = read_source(DEMO, labelled(tmp_path), val_fraction=0.3)
    found = splits_of(pool)
    assert len(found) == 40
    assert all(len(split) == 1 for split in found.values())
    assert {split for splits in found.values() for split in splits} == {"train", "val", "test"}


def test_a_group_keeps_its_split_whatever_else_is_there(tmp_path: Path) -> None:
    few = splits_of(read_source(DEMO, labelled(tmp_path / "few", num=10)))
    many = splits_of(read_source(DEMO, labelled(tmp_path / "many", num=20)))
    assert all(many[group] == split for group, split in few.items())


def test_fractions_say_how_much_is_held_out(tmp_path: Path) -> None:
    root = labelled(tmp_path, num=4)
    for fraction, expected in ((0.0, "train"), (1.0, "test")):
        config = DEMO.model_copy(update={"test_fraction": fraction})
        assert set(read_source(config, root, val_fraction=0).split) == {expected}


def test_the_sources_own_test_set_is_kept(tmp_path: Path) -> None:
    part = ["train", "train", "val", "val"] * 5
    root = labelled(tmp_path, num=10, part=part, patient=[f"q{i // 2}" for i in range(20)])
    config = SourceConfig(
        name="demo", labels=LABELS, group_column="patient", split_column="part", test_fraction=0
    )
    pool = read_source(config, root)
    assert ((pool.split == "test") == (np.array(part) == "val")).all()
    assert set(pool.group) == {f"q{i}" for i in range(10)}


def test_a_test_set_that_shares_groups_with_training_is_refused(tmp_path: Path) -> None:
    root = labelled(tmp_path, num=2, part=["train", "val", "train", "train"])
    config = DEMO.model_copy(update={"split_column": "part"})
    with pytest.raises(InputError, match="group '0' is in two splits"):
        read_source(config, root)


def test_blocks_of_numbers_make_groups(tmp_path: Path) -> None:
    config = DEMO.model_copy(update={"block": 4})
    pool = read_source(config, labelled(tmp_path, num=10))
    assert sorted(Counter(pool.group.tolist()).values()) == [4, 8, 8]
    assert all(len(split) == 1 for split in splits_of(pool).values())
    assert len(set(pool.group[:8])) == 1 and pool.group[7] != pool.group[8]


def test_large_images_are_shrunk_and_cut_inside(tmp_path: Path) -> None:
    folder = tmp_path / "tiles" / "demo"
    write_image(folder / "p1-0.png", size=(800, 600))
    picture = np.zeros((600, 800, 3), np.uint8)
    picture[:, 400:] = 255
    Image.fromarray(picture).save(folder / "p1-0.png")
    write_listing(folder, [{"file": "p1-0.png", "label": "cancer"}])
    config = DEMO.model_copy(update={"shrink": 2, "num_windows": 5})
    pool = read_source(config, tmp_path)
    assert pool.rgb.shape == (5, WINDOW_PX, WINDOW_PX, 3)
    assert set(np.unique(pool.rgb)) == {0, 255}
    assert len({int(window.mean()) for window in pool.rgb}) > 1
    np.testing.assert_array_equal(read_source(config, tmp_path).rgb, pool.rgb)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"cancer": "lung_adenocarcinoma"}}, "label 'normal' is in no class"),
        ({"group": r"q(\d+)-"}, "no source group in file name"),
        ({"name": "other"}, "no labels.csv for source 'other'"),
        ({"has_masks": True}, "p0-0.png can't be read"),
        ({"shrink": 2}, "112 x 112 px"),
    ],
)
def test_a_source_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_source(DEMO.model_copy(update=change), labelled(tmp_path, num=1))


def test_a_missing_image_is_refused(tmp_path: Path) -> None:
    root = labelled(tmp_path, num=1)
    (root / "tiles" / "demo" / "images" / "p0-1.png").unlink()
    with pytest.raises(InputError, match=r"p0-1\.png can't be read"):
        read_source(DEMO, root)


# Sources with masks


def masked(root: Path, share: float) -> Path:
    """Source "masked": one image whose left part is tumour; no labels.csv."""
    folder = root / "tiles" / "masked"
    write_image(folder / "images" / "7.jpg")
    write_mask(folder / "masks" / "7.jpg", share)
    return root


MASKED = SourceConfig(
    name="masked", labels={"": "breast_carcinoma"}, group=r"(\d+)\.", has_masks=True
)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_where_a_mask_says_tumour_alone_the_rest_is_open(tmp_path: Path, share: float) -> None:
    pool = read_source(MASKED, masked(tmp_path, share))
    assert pool.partial.tolist() == [True]
    assert pool.group.tolist() == ["7"]
    row = pool.target[0]
    assert row.sum() == pytest.approx(1)
    assert row[KEYS.index("breast_carcinoma")] == pytest.approx(share, abs=0.01)
    assert row[MALIGNANT_ROW].sum() == pytest.approx(share, abs=0.01)
    assert np.ptp(row[~MALIGNANT_ROW]) == 0


def test_where_the_rest_is_named_the_target_is_whole(tmp_path: Path) -> None:
    config = MASKED.model_copy(update={"rest": "lymphoid_tissue"})
    pool = read_source(config, masked(tmp_path, 0.25))
    assert pool.partial.tolist() == [False]
    assert pool.target[0, KEYS.index("breast_carcinoma")] == pytest.approx(0.25, abs=0.01)
    assert pool.target[0, KEYS.index("lymphoid_tissue")] == pytest.approx(0.75, abs=0.01)


def test_windows_read_the_mask_where_they_lie(tmp_path: Path) -> None:
    folder = tmp_path / "tiles" / "masked"
    write_image(folder / "images" / "7.jpg", size=(600, 600))
    write_mask(folder / "masks" / "7.jpg", 0.5, width=600)
    picture = np.zeros((600, 600, 3), np.uint8)
    picture[:, :300] = 255
    Image.fromarray(picture).save(folder / "images" / "7.jpg", quality=95)
    pool = read_source(MASKED.model_copy(update={"num_windows": 8}), tmp_path)
    bright = (pool.rgb[..., 0] > 127).mean((1, 2))
    share = pool.target[:, KEYS.index("breast_carcinoma")]
    np.testing.assert_allclose(share, bright, atol=0.02)
    assert np.ptp(share) > 0.2


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    root = masked(tmp_path, 0.5)
    write_mask(root / "tiles" / "masked" / "masks" / "7.jpg", 0.5, width=300)
    with pytest.raises(InputError, match="its mask differ in size"):
        read_source(MASKED, root)


# Pools


def test_pools_join_in_order_and_part_again(tmp_path: Path) -> None:
    one = read_source(DEMO, labelled(tmp_path, num=2))
    other = read_source(MASKED, masked(tmp_path, 0.5))
    both = join_pools([one, other])
    assert both.source.tolist() == ["demo"] * 4 + ["masked"]
    back = both.where(both.source == "masked")
    for name in TilePool.__slots__:
        assert len(getattr(both, name)) == 5
        np.testing.assert_array_equal(getattr(back, name), getattr(other, name))


def test_drawn_windows_hold_what_was_drawn() -> None:
    pool = draw_pool(range(3, 5), split="val", windows_per_phantom=3, side_px=400)
    assert 2 <= len(pool.rgb) <= 6
    assert set(pool.group) <= {"phantom-3", "phantom-4"}
    assert set(pool.split) == {"val"}
    assert not pool.partial.any()
    np.testing.assert_allclose(pool.target.sum(1), 1, atol=1e-5)
    again = draw_pool(range(3, 5), split="val", windows_per_phantom=3, side_px=400)
    np.testing.assert_array_equal(again.rgb, pool.rgb)
    np.testing.assert_array_equal(again.target, pool.target)
