"""What each tab of the page is told, and which answers go on because a tab waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import pytest

from ruichat.serve.page.shown import Shown
from ruichat.serve.page.tabs import Tabs


class Chat:
    """A chat whose answer goes on for ever, while somebody follows it."""

    def __init__(self) -> None:
        self.is_followed = True

    async def updates(self) -> AsyncGenerator[Shown]:
        number = 0
        try:
            while True:
                number += 1
                yield {"n": number}
        finally:
            self.is_followed = False


def played(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 10))


def test_a_tab_that_looks_elsewhere_is_told_nothing_but_the_answer_goes_on() -> None:
    async def scene() -> None:
        tabs, chat = Tabs(), Chat()
        first = tabs.follow(tabs.look("tab"), "a", chat.updates())
        assert await anext(first) == {"n": 1}
        tabs.look("another tab")
        assert await anext(first) == {"n": 2}
        tabs.look("tab")
        assert [await anext(first), await anext(first)] == [None, None]
        assert chat.is_followed
        await first.aclose()
        assert not chat.is_followed

    played(scene())


def test_a_tab_that_comes_back_follows_it_once() -> None:
    async def scene() -> None:
        tabs, before, after = Tabs(), Chat(), Chat()
        first = tabs.follow(tabs.look("tab"), "a", before.updates())
        await anext(first)
        second = tabs.follow(tabs.look("tab"), "a", after.updates())
        assert await anext(second) == {"n": 1}
        assert await anext(first) is None, "Gradio repeats what an event was told last"
        with pytest.raises(StopAsyncIteration):
            await anext(first)
        assert not before.is_followed
        assert await anext(second) == {"n": 2}
        tabs.look("tab")
        assert await anext(second) is None and after.is_followed

    played(scene())


def test_that_a_question_came_is_told_wherever_its_tab_looks() -> None:
    async def scene() -> None:
        tabs, chat = Tabs(), Chat()
        asking = tabs.look("tab")
        tabs.look("tab")
        told = tabs.follow(asking, "a", chat.updates(), is_asked=True)
        assert [await anext(told), await anext(told)] == [{"n": 1}, None]

    played(scene())
