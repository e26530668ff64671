"""Bags by the names of slides, and regions that a bag can't have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from published.dialogues import OTHER, SLIDE, lines

from ruichat.errors import InputError
from ruichat.truth.datasets.bags import BagOutline, Bags, looking_for
from ruichat.truth.datasets.check import check_file
from ruichat.truth.datasets.finding import Wrong


def bag(path: Path, num_tiles: int = 3, dataset: str = "features") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[dataset] = np.zeros((num_tiles, 4), np.float32)
        file["features" if dataset == "coords" else "coords"] = np.zeros((num_tiles, 2), np.int64)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bag(tmp_path / "bags" / "lung" / f"{SLIDE.lower()}.h5")
    bag(tmp_path / "bags" / "s.1.h5", dataset="feats")
    (tmp_path / "bags" / f"{OTHER}.csv").write_text("0,1\n")
    (tmp_path / "bags" / ".hidden.h5").write_text("")
    (tmp_path / "bags" / "notes.txt").write_text("")
    return tmp_path / "bags"


def test_bags_are_found_by_name(folder: Path) -> None:
    bags = Bags([folder])
    assert len(bags) == 3
    assert bags.of_slide(SLIDE) == folder / "lung" / f"{SLIDE.lower()}.h5"
    # Its barcode alone is enough, where it is one slide's.
    assert bags.of_slide("TCGA-21-1076-01Z-00-DX1") == bags.of_slide(SLIDE)
    assert bags.of_slide("TCGA-21-1076-01Z-00-DX1.AB") is None
    assert bags.of_slide("s.1") == folder / "s.1.h5" and bags.of_slide("s") is None
    assert bags.of_patient("tcga-66-2758") == (folder / f"{OTHER}.csv",)
    assert bags.of_patient("TCGA-66-275") == ()
    assert bags.outline(folder / "s.1.h5") == BagOutline(3)
    assert bags.outline(folder / f"{OTHER}.csv") == BagOutline()
    with h5py.File(folder / "groups.h5", "w") as file:
        file.create_group("features")
        file.create_group("coords")
    assert Bags([folder]).outline(folder / "groups.h5") == BagOutline()
    assert Bags([folder]).centres(folder / "groups.h5") is None


def test_two_bags_of_one_slide_are_one_too_many(folder: Path) -> None:
    bag(folder.parent / "more" / "S.1.h5")
    with pytest.raises(Wrong, match="2 files hold embeddings of one slide"):
        Bags([folder, folder.parent / "more"]).of_slide("s.1")
    with pytest.raises(InputError, match="none can't be read"):
        Bags([folder / "none"])


def test_missing_bags_and_regions_are_listed(folder: Path, tmp_path: Path) -> None:
    def one(slide: str, cited: int, **more: Any) -> dict[str, Any]:
        said = [("user", "Where?"), ("assistant", f"There [R{cited}].")]
        return {
            "format": "ruichat-dialogue-1",
            "id": f"{slide}-{cited}",
            "slides": [slide],
            "num_regions": 32,
            "turns": [{"role": role, "text": text} for role, text in said],
        } | more

    about_patient = one("x", 1, slides=[], patient="TCGA-21-1076")
    path = tmp_path / "set.jsonl"
    path.write_text(
        lines(
            [
                one("s.1", 3),
                one("s.1", 4),
                one("gone", 1),
                about_patient,
                one("a", 1, slides=[], tiles=["t"]),
            ]
        )
    )
    report = check_file(path, extra=looking_for(Bags([folder])))
    assert [(one.code, one.record, one.severity) for one in report.findings] == [
        ("no_such_region", 2, "error"),
        ("no_bag", 3, "warning"),
    ]
    assert report.findings[0].field == "turns.1.text" and "3 tiles" in report.findings[0].message
    assert "'gone'" in report.findings[1].message
    assert (report.num_records, report.num_broken) == (5, 1)


def test_regions_lie_on_the_slide(folder: Path, tmp_path: Path) -> None:
    sized = bag(folder / "sized.h5", dataset="coords")
    with h5py.File(sized, "a") as file:
        file["coords"].attrs.update({"level0_width": 1000, "level0_height": 800})
    unsized = bag(folder / "unsized.h5", dataset="coords")
    with h5py.File(unsized, "a") as file:
        file["coords"].attrs.update({"level0_width": "None", "level0_height": "None"})
    assert Bags([folder]).outline(unsized).size0 is None
    (folder / "damaged.h5").write_text("x")
    assert Bags([folder]).outline(folder / "damaged.h5") == BagOutline()

    def about(slide: str, x: int) -> dict[str, Any]:
        turns = [
            {"role": "user", "text": "What is [R1]?"},
            {"role": "assistant", "text": "A gland."},
        ]
        return {
            "format": "ruichat-dialogue-1",
            "id": f"{slide}-{x}",
            "slides": [slide],
            "regions": [{"x": x, "y": 0, "width": 672, "height": 672}],
            "turns": turns,
        }

    path = tmp_path / "set.jsonl"
    path.write_text(lines([about("sized", 328), about("sized", 329), about("unsized", 9999)]))
    (finding,) = check_file(path, extra=looking_for(Bags([folder]))).findings
    assert (finding.code, finding.record, finding.field) == ("region_outside", 2, "regions.0")
    assert "1000 x 800 px" in finding.message


def test_regions_hold_a_tile(tmp_path: Path) -> None:
    path = bag(tmp_path / "bags" / "s.h5", num_tiles=2)
    with h5py.File(path, "a") as file:
        file["coords"][...] = np.array([[0, 0], [512, 0]])
        file["coords"].attrs["patch_size_level0"] = 256

    def about(x: int) -> dict[str, Any]:
        turns = [{"role": "user", "text": "?"}, {"role": "assistant", "text": "In [R1]."}]
        return {
            "format": "ruichat-dialogue-1",
            "id": f"at-{x}",
            "slides": ["s"],
            "regions": [{"x": x, "y": 0, "width": 200, "height": 200}],
            "turns": turns,
        }

    # The first tile's centre is at 128, the second's at 640.
    (tmp_path / "set.jsonl").write_text(lines([about(0), about(128), about(129), about(500)]))
    report = check_file(tmp_path / "set.jsonl", extra=looking_for(Bags([tmp_path / "bags"])))
    (finding,) = report.findings
    assert (finding.code, finding.record) == ("region_without_tiles", 3)
    assert "leave the region out" in finding.remedy


def test_links_to_folders_are_followed_once(folder: Path, tmp_path: Path) -> None:
    elsewhere = bag(tmp_path / "disk" / "tcga" / "far.h5").parent
    (folder / "tcga").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    bags = Bags([folder, folder / "lung"])
    assert bags.of_slide("far") == folder / "tcga" / "far.h5"
    assert bags.of_slide(SLIDE) is not None and len(bags) == 4


@pytest.mark.parametrize(
    ("name", "names", "match"),
    [
        ("a.csv", None, "doesn't say where its tiles lie"),
        ("a.pt", None, "doesn't say where its tiles lie"),
        ("a.h5", None, "can't be opened as HDF5"),
        ("a.h5", ["features"], "holds no positions"),
        ("a.hdf5", ["coords"], "holds no features"),
        ("a.h5", ["feats", "coords"], None),
    ],
)
def test_bags_that_no_stage_trains_on_are_told(
    tmp_path: Path, name: str, names: list[str] | None, match: str | None
) -> None:
    if names is None:
        (tmp_path / name).write_bytes(b"0,1")
    else:
        with h5py.File(tmp_path / name, "w") as file:
            for one in names:
                file[one] = np.zeros((3, 2), np.float32)
    found = Bags([tmp_path]).unfit(tmp_path / name)
    assert (found is None) == (match is None)
    assert found is None or (match in found.message and "a." not in found.message)
