"""A door that lets so many through at once; people take turns before it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from ruichat.serve.engine.queueing import FairQueue


class Gate:
    """Safe for threads.

    Args:
        at_once: how many may be inside.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._queue: FairQueue[object] = FairQueue()
        self._granted: set[object] = set()
        self._changed = threading.Condition()

    @contextmanager
    def enter(self, user_id: str, check: Callable[[], None]) -> Generator[None]:
        """Wait for a place and hold it for as long as the context lasts.

        Args:
            user_id: whose turn it is.
            check: called while waiting, a few times a second; what it raises ends the wait.
        """
        mine = object()
        with self._changed:
            self._queue.put(user_id, mine)
            self._grant()
        try:
            with self._changed:
                while mine not in self._granted:
                    check()
                    self._changed.wait(CHECK_S)
            yield
        finally:
            with self._changed:
                if mine in self._granted:
                    self._granted.discard(mine)
                    self._free += 1
                else:
                    self._queue.remove(user_id, mine)
                self._grant()

    def _grant(self) -> None:
        while self._free > 0 and (item := self._queue.take()) is not None:
            self._free -= 1
            self._granted.add(item)
        self._changed.notify_all()


CHECK_S = 0.2
"""Between two looks at whether the wait still makes sense: well within the second in which what
is cancelled must be gone."""
