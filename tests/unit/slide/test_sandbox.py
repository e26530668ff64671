"""Whatever is wrong with a file, it costs one typed error: the process lives, and soon goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import malformed
import numpy as np
import pytest

from ruichat.errors import InputError
from ruichat.slide import sandbox
from ruichat.slide.geometry import Box
from ruichat.slide.opening import open_slide
from ruichat.slide.sandbox import SandboxedReader
from ruichat.units import Region0

CASES = dict(malformed.cases())


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return malformed.write_slide(tmp_path / "sound.tif")


def child_of(reader: SandboxedReader) -> int:
    assert reader._child is not None
    return reader._child._process.pid


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
def test_a_malformed_slide_ends_in_one_typed_error(make: malformed.Make, tmp_path: Path) -> None:
    path = make(tmp_path)
    began = time.monotonic()
    with pytest.raises(InputError) as caught, open_slide(path, mpp=0.5) as slide:
        slide.thumbnail(256)
        slide.read(Region0(0, 0, 300, 260), mpp=0.5)
    assert caught.value.hint
    assert time.monotonic() - began < 10


def test_sound_slides_pass(sound: Path) -> None:
    for form in ("classic", "BigTIFF", "JPEG"):
        with open_slide(malformed.write_slide(sound, form)) as slide:
            assert slide.read(Region0(0, 0, 300, 260), mpp=0.5).shape == (260, 300, 3)


def test_a_child_that_dies_costs_one_slide(sound: Path) -> None:
    reader, other = SandboxedReader(sound), SandboxedReader(sound)
    os.kill(child_of(reader), signal.SIGABRT)
    out = np.empty((10, 10, 3), np.uint8)
    with pytest.raises(InputError, match="breaks its decoder"):
        reader.read_many(0, [Box(0, 0, 10, 10)], [out])
    with pytest.raises(InputError, match="closed"):
        reader.read_many(0, [Box(0, 0, 10, 10)], [out])
    other.read_many(0, [Box(0, 0, 10, 10)], [out])
    reader.close()
    other.close()
    with open_slide(sound) as slide:
        assert slide.thumbnail(100).any()


def test_a_child_that_hangs_is_stopped(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SandboxedReader(sound)
    pid = child_of(reader)
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(sandbox, "READ_S", 0.3)
    with pytest.raises(InputError, match=r"took more than 0\.3 s"):
        reader.read_many(0, [Box(0, 0, 10, 10)], [np.empty((10, 10, 3), np.uint8)])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_child_that_wants_too_much_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setattr(sandbox, "_idle", [])
    monkeypatch.setattr(sandbox, "MEMORY_BYTES", 1 << 30)
    Image.new("RGB", (15_000, 15_000)).save(tmp_path / "large.png")
    with pytest.raises(InputError, match=r"large\.png"):
        SandboxedReader(tmp_path / "large.png")


def test_children_serve_slide_after_slide_and_are_replaced(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_idle", [])
    monkeypatch.setattr(sandbox, "MAX_SLIDES", 2)
    pids: list[int] = []
    for _ in range(4):
        reader = SandboxedReader(sound)
        pids.append(child_of(reader))
        reader.close()
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_many_boxes_come_in_parts_that_fit(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SandboxedReader(sound)
    boxes = [Box(x, 5, 40, 30) for x in range(0, 200, 20)]
    whole = [np.empty((30, 40, 3), np.uint8) for _ in boxes]
    reader.read_many(0, boxes, whole)
    monkeypatch.setattr(sandbox, "PIXELS_BYTES", 3 * 40 * 30 * 3)
    parts = [np.empty((30, 40, 3), np.uint8) for _ in boxes]
    reader.read_many(0, boxes, parts, num_threads=3)
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    with pytest.raises(ValueError, match="too large"):
        reader.read_many(0, [Box(0, 0, 300, 200)], [np.empty((200, 300, 3), np.uint8)])
    reader.close()
