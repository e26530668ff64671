"""Tables in HDF5: whole or absent, refused by kind, and a full disk is an error, not a crash."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from ruichat.errors import ArtifactError
from ruichat.storage.artifacts import Manifest
from ruichat.storage.hdf5 import Column, check_table, read_table, save_table

MANIFEST = Manifest(schema_version=1, kind="test", details={"name": "μ"})
ROWS = np.arange(5000, dtype=np.float32).reshape(500, 10)


def save(path: Path, rows: np.ndarray = ROWS, step: int = 64) -> Manifest:
    blocks = ({"x": rows[i : i + step]} for i in range(0, len(rows), step))
    return save_table(path, {"x": Column(rows.shape, np.float32)}, blocks, MANIFEST)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = save(tmp_path / "a.h5")
    read = read_table(tmp_path / "a.h5", kind="test", schema_version=1)
    assert read.manifest == written == check_table(tmp_path / "a.h5", kind="test", schema_version=1)
    assert np.array_equal(read.arrays["x"], ROWS)


def test_another_kind_or_schema_is_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path / "a.h5")
    with pytest.raises(ArtifactError, match="'test', not a 'bag'"):
        read_table(tmp_path / "a.h5", kind="bag", schema_version=1)
    with pytest.raises(ArtifactError, match=r"has schema 1 .* reads 2"):
        check_table(tmp_path / "a.h5", kind="test", schema_version=2)


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["features"] = ROWS
    with pytest.raises(ArtifactError, match="no manifest"):
        read_table(tmp_path / "theirs.h5", kind="test", schema_version=1)
    with pytest.raises(ArtifactError, match="no file at"):
        read_table(tmp_path / "none.h5", kind="test", schema_version=1)


@pytest.fixture
def small_disk() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_old_file_and_leaves_no_rest(
    tmp_path: Path, small_disk: None
) -> None:
    path = tmp_path / "a.h5"
    save(path, ROWS[:10])
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="disk is full"):
        save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.h5"]
    save(path, ROWS[:20])  # HDF5 itself is none the worse


def test_rows_that_end_in_an_error_leave_nothing(tmp_path: Path) -> None:
    def blocks() -> Iterator[dict[str, np.ndarray]]:
        yield {"x": ROWS[:100]}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_table(tmp_path / "a.h5", {"x": Column(ROWS.shape, np.float32)}, blocks(), MANIFEST)
    assert os.listdir(tmp_path) == []


def test_h5py_is_imported_only_when_a_table_is_read() -> None:
    code = "import sys, ruichat.features.extract; sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
