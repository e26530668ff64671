"""Work shared out among threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")


def share_out(items: Sequence[T], work: Callable[[T], None], num_threads: int) -> None:
    """Do the work on every item; a thread that is free takes half of its share of what is left.

    Neighbours so stay with one thread, and all threads end together. The caller works too, so
    that this may be called from anywhere, work itself included.

    Raises:
        Exception: one that the work raised; what hasn't begun then is left undone.

    Source:
        Guided self-scheduling, Polychronopoulos and Kuck 1987, IEEE Trans Comput 36:1425-1439.
    """
    if num_threads <= 1 or len(items) <= 1:
        for item in items:
            work(item)
        return
    left = _Left(len(items), 2 * num_threads)

    def run() -> None:
        try:
            while part := left.take():
                for i in part:
                    work(items[i])
        except BaseException:
            left.clear()
            raise

    others = [_pool(num_threads - 1).submit(run) for _ in range(num_threads - 1)]
    try:
        run()
    finally:
        started = [other for other in others if not other.cancel()]
        errors = [error for other in started if (error := other.exception())]
    if errors:
        raise errors[0]


class _Left:
    """What nobody has taken yet, in order."""

    def __init__(self, num: int, parts: int) -> None:
        self._next, self._end, self._parts = 0, num, parts
        self._lock = threading.Lock()

    def take(self) -> range:
        with self._lock:
            start = self._next
            length = -(-(self._end - start) // self._parts)
            self._next = start + length
            return range(start, self._next)

    def clear(self) -> None:
        with self._lock:
            self._next = self._end


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="share-out")
