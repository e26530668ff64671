"""Open slides: few at a time, each opened once, closed when nobody reads it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from drawn import draw_tissue, write_pyramid

from ruichat.errors import InputError
from ruichat.serve.slides import pool as pool_module
from ruichat.serve.slides.pool import BusyError, SlidePool
from ruichat.slide import sandbox
from ruichat.slide.mpp import MppChoice
from ruichat.slide.opening import open_slide
from ruichat.slide.plain_reader import PlainReader
from ruichat.slide.slide import Slide
from ruichat.units import Region0

PICTURE = draw_tissue(64, 64)


class Watched(PlainReader):
    """A slide in memory that tells how many are open."""

    num_open = 0
    most_open = 0
    num_opened = 0
    lock = threading.Lock()

    def __init__(self) -> None:
        super().__init__(PICTURE, "png", (), None)
        with Watched.lock:
            Watched.num_opened += 1
            Watched.num_open += 1
            Watched.most_open = max(Watched.most_open, Watched.num_open)

    def close(self) -> None:
        with Watched.lock:
            Watched.num_open -= 1


@pytest.fixture(autouse=True)
def fresh() -> None:
    Watched.num_open = Watched.most_open = Watched.num_opened = 0


def open_watched() -> Slide:
    return Slide(Path("drawn.png"), Watched(), MppChoice(0.5, "user", None, None))


def test_the_longest_unused_is_closed_for_the_next() -> None:
    pool = SlidePool(max_open=2)
    for key in ("a", "b", "a", "c", "a"):
        with pool.lease(key, open_watched):
            pass
    assert (Watched.num_opened, Watched.num_open) == (3, 2)
    pool.close()
    assert Watched.num_open == 0


def test_many_threads_open_each_slide_once_and_never_too_many() -> None:
    pool = SlidePool(max_open=3)

    def use(i: int) -> None:
        with pool.lease(str(i % 3), open_watched) as slide:
            assert slide.read(Region0(0, 0, 8, 8), mpp=0.5).shape == (8, 8, 3)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(300)))
    assert Watched.num_opened == 3
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: use(i) if i % 2 else pool.drop(str(i % 3)), range(300)))
    pool.close()
    assert Watched.num_open == 0


def test_one_more_than_fit_waits_and_then_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "WAIT_S", 0.05)
    pool = SlidePool(max_open=1)
    with (
        pool.lease("a", open_watched),
        pytest.raises(BusyError, match="1 slides"),
        pool.lease("b", open_watched),
    ):
        pass
    with pool.lease("b", open_watched):
        pass
    pool.close()


def test_an_error_on_opening_is_everybodys_and_kept_for_nobody() -> None:
    pool = SlidePool(max_open=1)

    def fail() -> Slide:
        raise InputError("damaged")

    for _ in range(3):
        with pytest.raises(InputError), pool.lease("a", fail):
            pass
    assert len(pool) == 0
    with pool.lease("a", open_watched):
        pass
    pool.close()


def test_a_dropped_slide_serves_who_reads_it_and_nobody_else() -> None:
    pool = SlidePool(max_open=2)
    with pool.lease("a", open_watched) as first:
        pool.drop("a", first)
        assert Watched.num_open == 1
        with pool.lease("a", open_watched) as second:
            assert second is not first
            pool.drop("a", first)
        assert len(pool) == 1
    assert Watched.num_open == 1
    pool.close()


def test_an_idle_slide_is_closed() -> None:
    pool = SlidePool(max_open=2, idle_s=0.1)
    with pool.lease("a", open_watched):
        time.sleep(0.3)
        assert len(pool) == 1
    deadline = time.monotonic() + 5
    while len(pool) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (len(pool), Watched.num_open) == (0, 0)
    pool.close()


def test_an_open_slide_takes_little_memory(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", draw_tissue(900, 700), mpp=0.5)
    pool = SlidePool(max_open=1)
    while sandbox._idle:  # decoders that earlier tests left behind
        sandbox._idle.pop().kill()
    before = _children()
    with pool.lease("a", lambda: open_slide(path)) as slide:
        slide.thumbnail()
        sizes = [_resident_mb(pid) for pid in _children() - before]
    pool.close()
    assert sizes and max(sizes) < 150


def _children() -> set[str]:
    files = Path("/proc/self/task").glob("*/children")
    return {pid for file in files for pid in file.read_text().split()}


def _resident_mb(pid: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next((each for each in status.splitlines() if each.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) / 1000
