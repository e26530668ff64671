"""Work is shared out whole, once each, and errors come back."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.slide.sharing import share_out


@given(num=st.integers(0, 200), num_threads=st.integers(1, 5))
def test_every_item_is_worked_on_once(num: int, num_threads: int) -> None:
    done: list[int] = []
    share_out(range(num), done.append, num_threads)
    assert sorted(done) == list(range(num))


def test_threads_work_at_the_same_time() -> None:
    meet = threading.Barrier(3, timeout=10)
    share_out(range(3), lambda _: meet.wait() and None, 3)


def test_work_may_share_out_work() -> None:
    done: list[tuple[int, int]] = []

    def outer(i: int) -> None:
        share_out(range(10), lambda j: done.append((i, j)), 3)

    share_out(range(10), outer, 3)
    assert sorted(done) == [(i, j) for i in range(10) for j in range(10)]


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_an_error_ends_the_work(num_threads: int) -> None:
    done: list[int] = []

    def work(i: int) -> None:
        if i == 3:
            raise ValueError("item 3")
        time.sleep(0.001)
        done.append(i)

    with pytest.raises(ValueError, match="item 3"):
        share_out(range(1000), work, num_threads)
    assert len(done) < 900
    share_out(range(4), done.append, num_threads)
