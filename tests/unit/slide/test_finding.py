"""Slides in folders: each once, at any depth, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ruichat.errors import InputError
from ruichat.slide.finding import find_slides


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(folder: Path, *paths: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_slides(paths or [folder]).slides]


def test_slides_at_any_depth_in_order(tmp_path: Path) -> None:
    make(tmp_path, "b.svs", "a.NDPI", "deep/er/c.tif", "notes.txt", "a.kfb")
    assert names(tmp_path) == ["a.NDPI", "a.kfb", "b.svs", "deep/er/c.tif"]
    assert find_slides([tmp_path]).num_other == 1


def test_a_dicom_folder_is_one_slide(tmp_path: Path) -> None:
    make(tmp_path, "case/one/1.dcm", "case/one/2.DCM", "case/two/1.dcm", "case/x.svs")
    assert names(tmp_path) == ["case/x.svs", "case/one", "case/two"]
    assert names(tmp_path, tmp_path / "case" / "one") == ["case/one"]


def test_pictures_count_only_where_they_are_named(tmp_path: Path) -> None:
    make(tmp_path, "slide.tif", "slide.mask.png", "label.jpg", "region.png")
    assert names(tmp_path) == ["slide.tif"]
    assert names(tmp_path, tmp_path / "region.png") == ["region.png"]


def test_what_is_hidden_or_a_slides_own_data_does_not_count(tmp_path: Path) -> None:
    make(tmp_path, "a.mrxs", "a/Slidedat.ini", "a/Data0001.dat", "a/extra.tif")
    make(tmp_path, "._b.svs", ".trash/c.svs")
    assert names(tmp_path) == ["a.mrxs"]


def test_a_slide_is_found_once(tmp_path: Path) -> None:
    make(tmp_path, "real/a.svs")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    assert len(names(tmp_path)) == 1
    assert names(tmp_path, tmp_path / "real" / "a.svs", tmp_path / "real") == ["real/a.svs"]


def test_a_folder_behind_a_link_is_looked_into(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/a.svs")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path, tmp_path / "here") == ["here/link/a.svs"]


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file at .*nothing"):
        find_slides([tmp_path / "nothing"])
