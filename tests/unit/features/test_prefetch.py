"""Work ahead comes in order, no more of it exists than was allowed, and it ends when told."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.features.prefetch import prefetch


@given(
    delays=st.lists(st.integers(0, 3), max_size=12),
    num_threads=st.integers(1, 4),
    ahead=st.integers(0, 3),
)
def test_results_come_in_order_and_few_exist(
    delays: list[int], num_threads: int, ahead: int
) -> None:
    lock = threading.Lock()
    begun, taken, most = 0, 0, 0

    def work(item: tuple[int, int]) -> int:
        nonlocal begun, most
        with lock:
            begun += 1
            most = max(most, begun - taken)
        time.sleep(item[1] / 5000)
        return item[0]

    items = list(enumerate(delays))
    found: list[int] = []
    with prefetch(work, items, num_threads=num_threads, ahead=ahead) as results:
        for result in results:
            with lock:
                taken += 1
            found.append(result)
    assert found == [number for number, _ in items]
    assert most <= num_threads + ahead + 1


def test_an_error_comes_where_its_result_would() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    found: list[int] = []
    with (
        pytest.raises(ValueError, match="three"),
        prefetch(work, range(9), num_threads=3, ahead=2) as results,
    ):
        found.extend(results)
    assert found == [0, 1, 2]


def test_on_leaving_nothing_more_begins_and_no_thread_is_left() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.01)
        return number

    before = threading.active_count()
    with prefetch(work, range(100), num_threads=2, ahead=3) as results:
        assert next(results) == 0
    assert threading.active_count() == before
    num = len(begun)
    assert num <= 6
    time.sleep(0.05)
    assert len(begun) == num
