"""Which chat each tab looks at, and which answers go on because a tab waits for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from ruichat.serve.page.shown import Shown

MAX_TABS = 10_000
"""Tabs of which it is remembered what they look at; the one longest silent goes first."""


@dataclass(frozen=True, eq=False)
class Look:
    """One time that a tab turned to a chat, or to none."""

    tab: str


class Tabs:
    """What tabs look at: only what a tab looks at now is told to it.

    An answer goes on while somebody watches it, and a tab that has turned to another chat still
    does: people look something up while they wait.
    """

    def __init__(self) -> None:
        self._now: OrderedDict[str, Look] = OrderedDict()
        self._watching: dict[tuple[str, str], Look] = {}

    def look(self, tab: str) -> Look:
        """A tab looks at something else from now on."""
        look = Look(tab)
        self._now[tab] = look
        self._now.move_to_end(tab)
        while len(self._now) > MAX_TABS:
            self._now.popitem(last=False)
        return look

    async def follow(
        self, look: Look, chat_id: str, updates: AsyncGenerator[Shown], *, is_asked: bool = False
    ) -> AsyncGenerator[Shown | None]:
        """What a tab is told of a chat; None for an update that it is spared.

        It ends with the updates, or when the tab has turned away and come back by another look.

        Args:
            is_asked: the tab asked a question there: it is told that this came, wherever it looks.
        """
        key = look.tab, chat_id
        self._watching[key] = look
        is_due = is_asked
        try:
            async with aclosing(updates):
                async for shown in updates:
                    is_now = self._now.get(look.tab) is look
                    # None is told last too: Gradio repeats the last when an event ends.
                    yield shown if is_now or is_due else None
                    is_due = False
                    if not is_now and self._watching.get(key) is not look:
                        return
        finally:
            if self._watching.get(key) is look:
                del self._watching[key]
