"""Work shared out among threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def share_out(items: Sequence[T], work: Callable[[T], None], num_threads: int) -> None:
    """Do the work on every item; each thread takes a stretch of them, in order.

    Raises:
        Exception: the first that the work raised.
    """

    def run(part: Sequence[T]) -> None:
        for item in part:
            work(item)

    if num_threads <= 1 or len(items) <= 1:
        run(items)
        return
    cuts = np.linspace(0, len(items), min(num_threads, len(items)) + 1).astype(int)
    with ThreadPoolExecutor(len(cuts) - 1) as pool:
        for _ in pool.map(run, [items[a:b] for a, b in pairwise(cuts)]):
            pass
