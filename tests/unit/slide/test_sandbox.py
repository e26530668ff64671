"""Whatever is wrong with a file, it costs one typed error: the process lives, and soon goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import malformed
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.errors import InputError, PrerequisiteError
from ruichat.slide import sandbox
from ruichat.slide.geometry import Box
from ruichat.slide.opening import open_slide
from ruichat.slide.sandbox import SandboxedReader
from ruichat.slide.shared_pixels import LEAD, SharedPixels
from ruichat.units import Region0

CASES = dict(malformed.cases())


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return malformed.write_slide(tmp_path / "sound.tif")


def child_of(reader: SandboxedReader) -> int:
    assert reader._child is not None
    return reader._child._process.pid


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 110


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
    with pytest.raises(InputError, match="has broken its decoder"):
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


def test_a_child_that_others_keep_from_working_is_waited_for(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(100))
    monkeypatch.setattr(sandbox, "_processor_s", lambda _: next(seconds) / 1000)
    monkeypatch.setattr(sandbox, "CHECK_S", 0.1)
    monkeypatch.setattr(sandbox, "READ_S", 0.3)
    with closing(SandboxedReader(sound)) as reader:
        pid, out = child_of(reader), np.zeros((10, 10, 3), np.uint8)
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(0.7, os.kill, (pid, signal.SIGCONT)).start()
        reader.read_many(0, [Box(0, 0, 10, 10)], [out])
        assert out.any()
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(InputError, match=r"took more than 0\.3 s"):
            reader.read_many(0, [Box(0, 0, 10, 10)], [out])
        assert time.monotonic() - began >= 0.3 * sandbox.PATIENCE


def test_a_child_that_works_for_too_long_is_stopped(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter((5.0, 5.4))
    with closing(SandboxedReader(sound)) as reader:
        os.kill(child_of(reader), signal.SIGSTOP)
        monkeypatch.setattr(sandbox, "_processor_s", lambda _: next(seconds))
        monkeypatch.setattr(sandbox, "READ_S", 0.3)
        with pytest.raises(InputError, match=r"took more than 0\.3 s"):
            reader.read_many(0, [Box(0, 0, 10, 10)], [np.empty((10, 10, 3), np.uint8)])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
def test_what_a_process_computes_is_counted() -> None:
    began = sandbox._processor_s(os.getpid())
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert 0.05 <= sandbox._processor_s(os.getpid()) - began < 5
    assert sandbox._processor_s(2**22 + 1) == 0


def test_a_limit_on_files_is_an_error_with_a_remedy(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(sandbox, "_idle", [])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
    try:
        with pytest.raises(PrerequisiteError, match="192 MB") as caught:
            SandboxedReader(sound)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "ulimit -f" in caught.value.hint


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


def test_a_child_can_be_ready_before_a_slide_comes(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_idle", [])
    sandbox.start_ahead()
    (ready,) = sandbox._idle
    with closing(SandboxedReader(sound)) as reader:
        assert reader._child is ready
        reader.read_many(0, [Box(0, 0, 10, 10)], [np.empty((10, 10, 3), np.uint8)])


def test_many_boxes_come_in_parts_that_fit(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [Box(x, 5, 40, 30) for x in range(0, 200, 20)]
    whole = [np.empty((30, 40, 3), np.uint8) for _ in boxes]
    with closing(SandboxedReader(sound)) as reader:
        reader.read_many(0, boxes, whole)
    monkeypatch.setattr(sandbox, "_idle", [])
    monkeypatch.setattr(sandbox, "PIXELS_BYTES", 16_000)
    monkeypatch.setattr(sandbox, "SCRATCH_BYTES", 12_000)
    parts = [np.empty((30, 40, 3), np.uint8) for _ in boxes]
    with closing(SandboxedReader(sound)) as reader:
        reader.read_many(0, boxes, parts, num_threads=3)
        with pytest.raises(ValueError, match="no room"):
            reader.read_many(0, [Box(0, 0, 300, 200)], [np.empty((200, 300, 3), np.uint8)])
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_pixels_come_without_a_copy_while_there_is_room(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_idle", [])
    monkeypatch.setattr(sandbox, "PIXELS_BYTES", 50_000)
    monkeypatch.setattr(sandbox, "SCRATCH_BYTES", 10_000)
    box = Box(7, 5, 40, 30)
    with closing(SandboxedReader(sound)) as reader:
        assert reader._child is not None
        kept = [reader.new_array((30, 40, 3)) for _ in range(20)]
        shared = [reader._child.pixels.place(array) is not None for array in kept]
        assert shared == [True] * 9 + [False] * 11
        kept[8] = kept[9]
        reader.read_many(0, [box] * 20, kept)
        for array in kept:
            assert np.array_equal(array, kept[-1])
        part = np.zeros((40, 50, 3), np.uint8)
        del kept[1:]
        around = reader.new_array((40, 50, 3))
        for out in (part, around):
            out[:] = 255
            reader.read_many(0, [box], [out[3:33, 4:44]])
        assert reader._child.pixels.place(around) is not None
        assert np.array_equal(part, around)
        assert np.array_equal(part[3:33, 4:44], kept[0])


def test_pixels_outlive_their_slide_and_nobody_else_writes_to_them(sound: Path) -> None:
    reader = SandboxedReader(sound)
    pid, out = child_of(reader), reader.new_array((30, 40, 3))
    reader.read_many(0, [Box(7, 5, 40, 30)], [out])
    before = out.copy()
    reader.close()
    with closing(SandboxedReader(sound)) as other:
        assert child_of(other) != pid
        other.read_many(0, [Box(100, 50, 40, 30)], [other.new_array((30, 40, 3))])
    assert np.array_equal(out, before)


@given(sizes=st.lists(st.tuples(st.integers(1, 9000), st.booleans()), max_size=40))
def test_what_is_lent_never_overlaps(sizes: list[tuple[int, bool]]) -> None:
    pixels = SharedPixels(50_000, 0)
    held: list[tuple[int, np.ndarray]] = []
    for i, (size, is_returned) in enumerate(sizes):
        array = pixels.lend((size,))
        if array is not None:
            array[:] = i
            held.append((i, array))
        if is_returned and held:
            held.pop(0)
        array = None
        assert all((kept == i).all() for i, kept in held)
    held.clear()
    assert not pixels.is_lent
    assert pixels.lend((50_000 - LEAD,)) is not None
    pixels.close()
