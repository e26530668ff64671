"""A digest that is kept is that of the file as it is now."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from ruichat.storage import digests
from ruichat.storage.digests import digest_of


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(digests, "WORTH_BYTES", 1)
    path = tmp_path / "weights.bin"
    path.write_bytes(b"one")
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def never(path: Path) -> str:
    raise AssertionError(f"{path} is read again")


def test_a_settled_file_is_read_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "SETTLED_S", 0)
    digest = digest_of(file)
    assert digest == sha256(file)
    monkeypatch.setattr(digests, "_read", never)
    assert digest_of(file) == digest


def test_a_file_that_was_just_written_is_read_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest_of(file)
    monkeypatch.setattr(digests, "_read", never)
    with pytest.raises(AssertionError, match="read again"):
        digest_of(file)


def test_any_change_is_seen(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "SETTLED_S", 0)
    digest_of(file)
    before = file.stat()
    time.sleep(0.02)
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest_of(file) == sha256(file), "same length, same time of content"
    other = file.with_name("other")
    other.write_bytes(b"six")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert digest_of(file) == sha256(file), "another file in its place"


def test_a_damaged_memory_is_no_digest(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "SETTLED_S", 0)
    digest_of(file)
    (kept,) = (digests.cache_dir() / "digests").iterdir()
    for content in ("", "[]", '{"state": [1]}', "null"):
        kept.write_text(content)
        assert digest_of(file) == sha256(file)


def test_a_cache_that_cant_be_written_costs_only_time(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(digests, "SETTLED_S", 0)
    (tmp_path / "blocked").write_bytes(b"")
    monkeypatch.setenv("RUICHAT_CACHE", str(tmp_path / "blocked"))
    assert digest_of(file) == sha256(file)
