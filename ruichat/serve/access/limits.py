"""How often somebody may try: counters in memory, bounded in number."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from ruichat.serve.problems import AccessError

MAX_KEYS = 10_000
"""Counters kept; the one longest unused goes first."""


class RateLimit:
    """A bucket of tries per key, filled again at a steady rate.

    Args:
        tries: allowed at once, and in every `period_s`.
        period_s: seconds.
        clock: seconds that only grow.
    """

    def __init__(
        self, tries: int, period_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tries = tries
        self._rate = tries / period_s
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Count one try.

        Raises:
            AccessError: none is left (429); it says when the next one is.
        """
        with self._lock:
            left = self._now_left(key)
            if left < 1:
                raise self._too_many(left)
            self._keep(key, left - 1)

    def give_back(self, key: str) -> None:
        """Take back the last try of a key: it doesn't count."""
        with self._lock:
            self._keep(key, min(float(self._tries), self._now_left(key) + 1))

    def _now_left(self, key: str) -> float:
        left, since = self._left.get(key, (float(self._tries), self._clock()))
        return min(float(self._tries), left + (self._clock() - since) * self._rate)

    def _keep(self, key: str, left: float) -> None:
        self._left[key] = (left, self._clock())
        self._left.move_to_end(key)
        while len(self._left) > MAX_KEYS:
            self._left.popitem(last=False)

    def _too_many(self, left: float) -> AccessError:
        wait_s = math.ceil((1 - left) / self._rate)
        return AccessError(
            "too many requests",
            hint=f"Wait {wait_s} s",
            status=429,
            retry_after_s=wait_s,
        )
