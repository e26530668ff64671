"""Files are whole or absent, checked when read, and errors say what to do."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ruichat.errors import ArtifactError
from ruichat.storage.artifacts import (
    Manifest,
    cache_dir,
    content_digest,
    read_checked,
    save_arrays,
    sweep,
    write_atomic,
)

MANIFEST = Manifest(schema_version=1, kind="test", made_from={"slide": "ab"}, details={"a": [1.5]})


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow past 10 kB: the nearest thing to a full disk without being root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.dictionaries(
        st.text("abcxyz", min_size=1, max_size=5),
        hnp.arrays(
            st.sampled_from([np.float32, np.int64, np.uint8]),
            hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_written_is_read(values: dict[str, NDArray[np.float32]], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    written = save_arrays(path, values, MANIFEST)
    read = read_checked(path, kind="test", schema_version=1)
    assert read.manifest == written
    assert set(read.arrays) == set(values)
    for name, value in values.items():
        assert read.arrays[name].dtype == value.dtype
        assert np.array_equal(read.arrays[name], value, equal_nan=value.dtype == np.float32)


def test_the_digest_hangs_on_names_shapes_values_and_manifest() -> None:
    a = np.arange(6, dtype=np.float32)
    digests = {
        content_digest({"x": a}, MANIFEST),
        content_digest({"y": a}, MANIFEST),
        content_digest({"x": a.reshape(2, 3)}, MANIFEST),
        content_digest({"x": a + 1}, MANIFEST),
        content_digest({"x": a}, MANIFEST.model_copy(update={"details": {}})),
    }
    assert len(digests) == 5
    newer = MANIFEST.model_copy(update={"ruichat_version": "9"})
    assert content_digest({"x": a}, newer) == content_digest({"x": a}, MANIFEST)


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"x": np.arange(20, dtype=np.float32)}, MANIFEST)
    whole = path.read_bytes()
    for i in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[i] ^= 0x11
        path.write_bytes(damaged)
        try:
            read = read_checked(path, kind="test", schema_version=1)
        except ArtifactError as error:
            assert error.hint
        else:  # only white space or the version of the writer
            assert np.array_equal(read.arrays["x"], np.arange(20))
            assert read.manifest.details == MANIFEST.details


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"x": np.zeros(999, np.float32)}, MANIFEST)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ArtifactError, match="damaged") as caught:
        read_checked(path, kind="test", schema_version=1)
    assert "Delete it" in caught.value.hint


def test_another_kind_or_schema_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"x": np.zeros(1, np.float32)}, MANIFEST)
    with pytest.raises(ArtifactError, match="'test', not a 'bag'"):
        read_checked(path, kind="bag", schema_version=1)
    with pytest.raises(ArtifactError, match=r"has schema 1 .* reads 2"):
        read_checked(path, kind="test", schema_version=2)


def test_a_safetensors_file_of_others_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "theirs.safetensors")
    with pytest.raises(ArtifactError, match="damaged"):
        read_checked(tmp_path / "theirs.safetensors", kind="test", schema_version=1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no file at"):
        read_checked(tmp_path / "a", kind="test", schema_version=1)


def test_a_full_disk_keeps_the_old_file_and_leaves_no_rest(
    tmp_path: Path, small_disk: None
) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")
    with pytest.raises(ArtifactError, match="disk is full") as caught:
        write_atomic(path, b"x" * 50_000)
    assert "RUICHAT_CACHE" in caught.value.hint
    assert caught.value.exit_code == 4
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_no_space_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="disk is full"):
        write_atomic(tmp_path / "a", b"x")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="can't be written"):
        write_atomic(tmp_path / "file" / "a", b"x")


@pytest.mark.parametrize("name", ["a" * 255, "切" * 85])
def test_any_name_that_a_file_may_have_can_be_written(name: str, tmp_path: Path) -> None:
    write_atomic(tmp_path / name, b"x")
    assert os.listdir(tmp_path) == [name]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a", fail)
    assert os.listdir(tmp_path) == []


def test_a_killed_writer_never_leaves_half_a_file(tmp_path: Path) -> None:
    code = f"""
        import numpy as np
        from pathlib import Path
        from ruichat.storage.artifacts import Manifest, save_arrays
        i = 0
        while True:
            i += 1
            save_arrays(Path({str(tmp_path)!r}) / "a", {{"x": np.full(300_000, i, np.float32)}},
                        Manifest(schema_version=1, kind="test"))
            print(i, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    x = read_checked(tmp_path / "a", kind="test", schema_version=1).arrays["x"]
    assert (x == x[0]).all()


def test_what_killed_writers_left_is_swept(tmp_path: Path) -> None:
    name = "long-" * 9 + "[1]*"
    code = """
        import os, signal, sys
        from pathlib import Path
        from ruichat.storage.artifacts import write_atomic
        write_atomic(Path(sys.argv[1]), lambda file: os.kill(os.getpid(), signal.SIGKILL))
    """
    for rest in (name, name + "2"):
        arguments = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / rest)]
        assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2
    sweep(tmp_path / name)
    assert len(os.listdir(tmp_path)) == 1  # another path's rest is another's business
    sweep(tmp_path / (name + "2"))
    assert os.listdir(tmp_path) == []


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUICHAT_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("RUICHAT_CACHE")
    assert cache_dir().name == "ruichat"


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such modes")
def test_others_cannot_read_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    path.write_bytes(b"older, open to all")
    path.chmod(0o644)
    write_atomic(path, b"seen on a slide")
    assert path.stat().st_mode & 0o077 == 0
