"""Open slides, at most so many: each is a process. The one not used for longest gives way."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from ruichat.errors import RuiChatError
from ruichat.slide.slide import Slide

MAX_OPEN = 12
"""Slides open at once; a process has about 55 MB, and up to 128 MB of decoded tiles."""

IDLE_S = 300.0
"""A slide that nobody looked at for so long is closed."""

WAIT_S = 20.0
"""How long to wait for one of the open slides to become free."""


class BusyError(RuiChatError):
    """All places are taken; it may be tried again soon."""

    status = 503
    retry_after_s = 2


@dataclass(slots=True)
class _Open:
    """One open slide, or one that is being opened, and how many are reading it."""

    slide: Future[Slide] = field(default_factory=Future[Slide])
    num_users: int = 0
    used_at: float = 0.0
    is_dropped: bool = False


class SlidePool:
    """Open slides by key, shared by threads.

    Args:
        max_open: slides open at once.
        idle_s: seconds after which an unused one is closed.
    """

    def __init__(self, *, max_open: int = MAX_OPEN, idle_s: float = IDLE_S) -> None:
        self._max_open, self._idle_s = max_open, idle_s
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._changed = threading.Condition()
        self._dropped: list[_Open] = []
        self._is_closed = threading.Event()
        threading.Thread(target=self._close_idle, name="slide-pool", daemon=True).start()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def lease(self, key: str, open_it: Callable[[], Slide]) -> Generator[Slide]:
        """The slide of a key, kept open meanwhile; opened once however many ask for it.

        Raises:
            BusyError: all others are in use, and stayed so.
            RuiChatError: whatever `open_it` raises.
        """
        mine, is_new = self._take(key)
        try:
            if is_new:
                self._fill(key, mine, open_it)
            yield mine.slide.result()
        finally:
            self._give_back(mine)

    def drop(self, key: str, slide: Slide | None = None) -> None:
        """Have a key opened anew the next time; who reads the slide now goes on.

        Args:
            key: of the slide.
            slide: only if it is still this one that is open.
        """
        with self._changed:
            known = self._open.get(key)
            if known is None or not known.slide.done():
                return
            if slide is None or known.slide.result() is slide:
                self._remove(key)
        self._close_dropped()

    def close(self) -> None:
        """Close all slides, those in use as soon as they no longer are."""
        self._is_closed.set()
        with self._changed:
            for key in list(self._open):
                self._remove(key)
        self._close_dropped()

    def _take(self, key: str) -> tuple[_Open, bool]:
        deadline = time.monotonic() + WAIT_S
        with self._changed:
            while (known := self._open.get(key)) is None and not self._make_room():
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise BusyError(
                        f"{self._max_open} slides are being read, no more can be opened",
                        hint="Try again in a moment",
                    )
            mine = known or self._open.setdefault(key, _Open())
            mine.num_users += 1
            self._open.move_to_end(key)
        self._close_dropped()
        return mine, known is None

    def _make_room(self) -> bool:
        if len(self._open) < self._max_open:
            return True
        unused = next((k for k, one in self._open.items() if one.num_users == 0), None)
        if unused is not None:
            self._remove(unused)
        return unused is not None

    def _fill(self, key: str, mine: _Open, open_it: Callable[[], Slide]) -> None:
        try:
            slide = open_it()
        except BaseException as error:
            with self._changed:
                mine.is_dropped = True
                if self._open.get(key) is mine:
                    del self._open[key]
            mine.slide.set_exception(error)
            raise
        mine.slide.set_result(slide)

    def _remove(self, key: str) -> None:
        one = self._open.pop(key)
        one.is_dropped = True
        if one.num_users == 0:
            self._dropped.append(one)

    def _close_dropped(self) -> None:
        """Outside of the lock: a child that hangs keeps its own thread waiting, nobody else."""
        with self._changed:
            dropped, self._dropped = self._dropped, []
        for one in dropped:
            one.slide.result().close()

    def _give_back(self, mine: _Open) -> None:
        with self._changed:
            mine.num_users -= 1
            mine.used_at = time.monotonic()
            if mine.is_dropped and mine.num_users == 0 and mine.slide.exception() is None:
                self._dropped.append(mine)
            self._changed.notify()
        self._close_dropped()

    def _close_idle(self) -> None:
        while not self._is_closed.wait(self._idle_s / 4):
            limit = time.monotonic() - self._idle_s
            with self._changed:
                for key, one in list(self._open.items()):
                    if one.num_users == 0 and one.used_at < limit:
                        self._remove(key)
            self._close_dropped()
