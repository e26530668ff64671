"""Work done ahead by a few threads, in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def prefetch(
    work: Callable[[T], R], items: Sequence[T], *, num_threads: int, ahead: int
) -> Generator[Iterator[R]]:
    """Results of work on items, in their order, begun before they are asked for.

    On leaving, what hasn't begun never does, and no thread is left.

    Args:
        work: done in several threads at once.
        items: to work on.
        num_threads: that work.
        ahead: finished results that may wait; with those under way and the one that the caller
            has, no more exist.

    Raises:
        Exception: what the work raised, when its result is asked for.
    """
    with ThreadPoolExecutor(num_threads, thread_name_prefix="prefetch") as pool:
        try:
            yield _results(pool, work, items, num_threads + ahead)
        finally:
            pool.shutdown(cancel_futures=True)


def _results(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Sequence[T], most: int
) -> Iterator[R]:
    coming: deque[Future[R]] = deque()
    left = iter(items)
    while True:
        while len(coming) < most and (item := next(left, None)) is not None:
            coming.append(pool.submit(work, item))
        if not coming:
            return
        yield coming.popleft().result()
