"""Work shared out among threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")

STRETCHES = 4
"""Per thread: enough that threads end together, few enough that neighbours stay with one."""


def share_out(items: Sequence[T], work: Callable[[T], None], num_threads: int) -> None:
    """Do the work on every item; each thread takes a stretch of them after the other, in order.

    The caller works too, so that this may be called from anywhere, work itself included.

    Raises:
        Exception: one that the work raised; what hasn't begun then is left undone.
    """
    if num_threads <= 1 or len(items) <= 1:
        for item in items:
            work(item)
        return
    length = -(-len(items) // (STRETCHES * num_threads))
    starts = iter(range(0, len(items), length))

    def run() -> None:
        for start in starts:
            for item in items[start : start + length]:
                work(item)

    others = [_pool(num_threads - 1).submit(run) for _ in range(num_threads - 1)]
    try:
        run()
    finally:
        for _ in starts:  # after an error here nothing more begins
            pass
        started = [other for other in others if not other.cancel()]
        errors = [error for other in started if (error := other.exception())]
    if errors:
        raise errors[0]


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="share-out")
