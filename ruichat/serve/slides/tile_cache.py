"""Encoded tiles last shown, up to so many bytes; each is made once however many ask for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TypeAlias

Key: TypeAlias = tuple[object, ...]

OVERHEAD_BYTES = 200
"""What an entry takes beside its own bytes, about."""


class TileCache:
    """Bytes by key.

    Args:
        max_bytes: kept at most; the longest unused go first.
        executor: whose threads make what isn't there.
    """

    def __init__(self, max_bytes: int, executor: Executor) -> None:
        self._max_bytes = max_bytes
        self._executor = executor
        self._tiles: OrderedDict[Key, bytes] = OrderedDict()
        self._making: dict[Key, Future[bytes]] = {}
        self._lock = threading.Lock()
        self.num_bytes = 0

    def get(self, key: Key) -> bytes | None:
        """What is kept under a key."""
        with self._lock:
            found = self._tiles.get(key)
            if found is not None:
                self._tiles.move_to_end(key)
            return found

    def fetch(self, key: Key, make: Callable[[], bytes]) -> Future[bytes]:
        """What is under a key, made in another thread where it isn't kept.

        The future is shared: who waits for it no longer must not cancel it.
        """
        with self._lock:
            found = self._tiles.get(key)
            if found is not None:
                done: Future[bytes] = Future()
                done.set_result(found)
                return done
            known = self._making.get(key)
            if known is not None:
                return known
            future: Future[bytes] = Future()
            self._making[key] = future
        try:
            self._executor.submit(self._make, key, make, future)
        except BaseException:
            with self._lock:
                del self._making[key]
            raise
        return future

    def drop(self, is_gone: Callable[[Key], bool]) -> None:
        """Forget what is kept under some keys."""
        with self._lock:
            for key in [key for key in self._tiles if is_gone(key)]:
                self.num_bytes -= len(self._tiles.pop(key)) + OVERHEAD_BYTES

    def _make(self, key: Key, make: Callable[[], bytes], future: Future[bytes]) -> None:
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            future.set_exception(error)
            return
        with self._lock:
            del self._making[key]
            self._keep(key, made)
        future.set_result(made)

    def _keep(self, key: Key, made: bytes) -> None:
        self._tiles[key] = made
        self.num_bytes += len(made) + OVERHEAD_BYTES
        while self.num_bytes > self._max_bytes and self._tiles:
            _, dropped = self._tiles.popitem(last=False)
            self.num_bytes -= len(dropped) + OVERHEAD_BYTES
