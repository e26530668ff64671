"""Tiles by number from lists, folders and manifests; what is wrong is named with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from ruichat.align.pretraining.checking import check_tiles
from ruichat.align.pretraining.order import shuffled, tiles_of_step
from ruichat.align.pretraining.reading import open_tiles
from ruichat.align.pretraining.tiles import TileSourceConfig
from ruichat.errors import InputError


def tile(value: int, side: int = 40) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def image(path: Path, value: int, side: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(tile(value, side)).save(path)
    return path


def bundle(path: Path, content: Any, name: str = "patches") -> Path:
    with h5py.File(path, "w") as file:
        file[name] = content
    return path


def manifest(folder: Path, *rows: str, name: str = "meta.csv") -> TileSourceConfig:
    separator = "\t" if name.endswith("tsv") else ","
    lines = ["h5_path,patch_count,cum_sum", *rows]
    (folder / name).write_text("\n".join(lines).replace(",", separator) + "\n")
    return TileSourceConfig(kind="manifest", path=folder / name)


def first_values(source: TileSourceConfig) -> list[int]:
    tiles = open_tiles([source])
    return [int(tiles[i][0, 0, 0]) for i in range(len(tiles))]


@pytest.mark.parametrize("name", ["meta.csv", "meta.tsv"])
def test_a_manifest_counts_through_its_files(tmp_path: Path, name: str) -> None:
    bundle(tmp_path / "a.h5", np.stack([tile(i) for i in range(3)]))
    bundle(tmp_path / "b.h5", np.stack([tile(10 + i) for i in range(2)]))
    source = manifest(tmp_path, "a.h5,3,3", "b.h5,2,5", name=name)
    assert first_values(source) == [0, 1, 2, 10, 11]
    report = check_tiles(source)
    assert (report.num_files, report.num_tiles, report.faults) == (2, 5, [])
    assert report.sizes == {"40 x 40": 2}


@pytest.mark.parametrize(
    ("quota", "seen"), [(2, [1, 4]), (6, [0, 1, 2, 3, 4, 5]), (12, sorted([0, 1, 2, 3, 4, 5] * 2))]
)
def test_a_quota_thins_or_repeats_evenly(tmp_path: Path, quota: int, seen: list[int]) -> None:
    bundle(tmp_path / "a.h5", np.stack([tile(i) for i in range(6)]))
    source = manifest(tmp_path, f"a.h5,{quota},{quota}")
    assert first_values(source) == seen


def test_files_without_a_quota_are_passed_over(tmp_path: Path) -> None:
    bundle(tmp_path / "a.h5", tile(7)[None])
    source = manifest(tmp_path, "gone.h5,0,0", "a.h5,1,1", "gone.h5,0,1")
    assert first_values(source) == [7]


def test_lists_and_folders(tmp_path: Path) -> None:
    image(tmp_path / "data/x/b.png", 2)
    image(tmp_path / "data/a.jpg", 1)
    (tmp_path / "data/notes.md").write_text("no tile")
    (tmp_path / "list.txt").write_text("data/a.jpg\n\ndata/x/b.png\n")
    (tmp_path / "list.csv").write_text("slide,path\n1,x/b.png\n2,a.jpg\n")
    text = TileSourceConfig(kind="list", path=tmp_path / "list.txt")
    table = TileSourceConfig(kind="list", path=tmp_path / "list.csv", root=tmp_path / "data")
    folder = TileSourceConfig(kind="folder", path=tmp_path / "data", repeat=2)
    assert [first_values(source) for source in (text, table, folder)] == [
        [1, 2],
        [2, 1],
        [1, 2, 1, 2],
    ]
    both = open_tiles([text, table])
    assert (len(both), both.name(2)) == (4, str(tmp_path / "data/x/b.png"))


@pytest.mark.parametrize(
    ("rows", "line", "what"),
    [
        (["a.h5,1,1", "a.h5,2,4"], 3, "cum_sum is 4, and patch_count adds up to 3"),
        (["a.h5,1"], 2, "fewer columns"),
        (["a.h5,one,1"], 2, "patch_count 'one'"),
        ([",1,1"], 2, "h5_path ''"),
        (["a.h5,-1,0"], 2, "patch_count '-1'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, rows: list[str], line: int, what: str) -> None:
    bundle(tmp_path / "a.h5", np.stack([tile(0)] * 3))
    source = manifest(tmp_path, *rows)
    with pytest.raises(InputError, match=f"meta.csv, line {line}: ") as caught:
        open_tiles([source])
    assert what in caught.value.message
    assert caught.value.hint
    assert [fault.line for fault in check_tiles(source).faults] == [line]


def test_one_wrong_sum_is_one_fault(tmp_path: Path) -> None:
    bundle(tmp_path / "a.h5", np.stack([tile(0)] * 3))
    source = manifest(tmp_path, "a.h5,1,9", "a.h5,1,10", "a.h5,1,11")
    assert [fault.line for fault in check_tiles(source).faults] == [2]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "isn't there"),
        (b"no hdf5", "can't be read as HDF5"),
        (("other", tile(0)[None]), "has no dataset 'patches'"),
        (("patches", np.zeros((2, 40, 40, 3), np.float32)), "is float32 [2, 40, 40, 3]"),
        (("patches", np.zeros((2, 40, 40), np.uint8)), "is uint8 [2, 40, 40]"),
        (("patches", np.zeros((0, 40, 40, 3), np.uint8)), "is empty, and patch_count 2"),
        (("patches", np.zeros((2, 40, 8, 3), np.uint8)), "tiles of 8 x 40 px"),
    ],
)
def test_the_check_finds_what_a_file_lacks(tmp_path: Path, content: Any, what: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / "a.h5").write_bytes(content)
    elif content is not None:
        bundle(tmp_path / "a.h5", content[1], content[0])
    report = check_tiles(manifest(tmp_path, "a.h5,2,2"))
    assert [(fault.line, bool(fault.remedy)) for fault in report.faults] == [(2, True)]
    assert what in report.faults[0].what


def test_the_check_looks_at_images(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 1)
    image(tmp_path / "small.png", 1, side=8)
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (tmp_path / "list.txt").write_text("a.png\nb.png\nc.png\nsmall.png\n")
    source = TileSourceConfig(kind="list", path=tmp_path / "list.txt")
    assert [fault.line for fault in check_tiles(source).faults] == [2, 3, 4]
    with pytest.raises(InputError, match=r"list\.txt, line 3: .*c\.png isn't there"):
        open_tiles([source])
    source.path.write_text("a.png\nb.png\nsmall.png\n")
    tiles = open_tiles([source])
    with pytest.raises(InputError, match=r"b\.png can't be read"):
        tiles[1]
    folder = check_tiles(TileSourceConfig(kind="folder", path=tmp_path))
    assert [fault.file.name for fault in folder.faults] == ["b.png", "small.png"]


def test_files_that_arent_there_are_told_with_their_lines(tmp_path: Path) -> None:
    bundle(tmp_path / "a.h5", tile(7)[None])
    source = manifest(tmp_path, "a.h5,1,1", "gone.h5,2,3", "nowhere/b.h5,1,4")
    with pytest.raises(InputError, match=r"meta.csv, line 3: .*gone.h5 isn't there \(1 more\)"):
        open_tiles([source])


@pytest.mark.parametrize("digits", [20, 5000])
def test_a_number_that_no_list_has_is_a_fault_of_its_line(tmp_path: Path, digits: int) -> None:
    bundle(tmp_path / "a.h5", tile(7)[None])
    source = manifest(tmp_path, f"a.h5,{'9' * digits},{'9' * digits}")
    with pytest.raises(InputError, match=r"line 2: h5_path 'a.h5', patch_count '999"):
        open_tiles([source])
    assert [fault.line for fault in check_tiles(source).faults] == [2]


@pytest.mark.parametrize("kind", ["manifest", "list", "folder"])
def test_a_source_that_isnt_there_is_refused(tmp_path: Path, kind: Any) -> None:
    with pytest.raises(InputError, match="can't be read as a"):
        open_tiles([TileSourceConfig(kind=kind, path=tmp_path / "gone.csv")])


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no tiles"):
        open_tiles([TileSourceConfig(kind="folder", path=tmp_path)])


def test_wrong_columns_are_named(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("path,patch_count\n")
    with pytest.raises(InputError, match="line 1: has no column h5_path, cum_sum"):
        open_tiles([TileSourceConfig(kind="manifest", path=tmp_path / "meta.csv")])


@given(num=st.integers(1, 700), seed=st.integers(0, 2**20), epoch=st.integers(0, 50))
def test_an_order_holds_every_tile_once(num: int, seed: int, epoch: int) -> None:
    order = shuffled(np.arange(num), num, (seed, epoch))
    assert sorted(order) == list(range(num))


def test_orders_are_well_mixed() -> None:
    """Neighbours come to lie far from each other, and epochs are unlike."""
    num = 10_000
    one, two = (shuffled(np.arange(num), num, (0, epoch)) for epoch in (0, 1))
    for order in (one, two):
        assert abs(np.corrcoef(np.arange(num), order)[0, 1]) < 0.05
        assert np.abs(np.diff(order)).mean() == pytest.approx(num / 3, rel=0.05)
    assert (one == two).mean() < 0.01


@examples(max_examples=20)
@given(batch=st.integers(1, 20), num=st.integers(1, 20))
def test_steps_follow_each_other_through_the_epochs(batch: int, num: int) -> None:
    steps = 2 * num
    seen = np.concatenate([tiles_of_step(i, batch, num, 3) for i in range(steps)])
    whole = len(seen) // num * num
    counts = np.bincount(seen[:whole], minlength=num)
    assert (counts == whole // num).all()
    assert np.array_equal(seen[:batch], tiles_of_step(0, batch, num, 3))


@pytest.mark.parametrize(
    "content",
    [
        np.zeros((3, 40, 40, 3), np.float32),
        np.zeros((3, 40, 40), np.uint8),
        np.zeros((3, 3, 40, 40), np.uint8),
    ],
)
def test_patches_of_another_form_are_told_when_they_are_read(tmp_path: Path, content: Any) -> None:
    bundle(tmp_path / "a.h5", content)
    with pytest.raises(InputError, match=r"a\.h5.*uint8 \[h,w,3\]"):
        open_tiles([manifest(tmp_path, "a.h5,3,3")])[0]


def test_a_group_in_the_place_of_patches_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("patches")["x"] = 1
    with pytest.raises(InputError, match=r"a\.h5"):
        open_tiles([manifest(tmp_path, "a.h5,3,3")])[0]
