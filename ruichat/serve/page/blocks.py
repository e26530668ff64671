"""The Gradio application: the way between the page's script and Python, for the chat."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from itertools import count
from typing import Any

# Read by Gradio when it is imported: no look-up leaves the machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr

from ruichat.errors import RuiChatError
from ruichat.serve.access.roles import CurrentUser, Right
from ruichat.serve.access.routes import current_user
from ruichat.serve.page.asked import asked_of, looked_of
from ruichat.serve.page.conversations import Conversations, problem_shown, shown_of
from ruichat.serve.page.shown import ChatShown, Shown
from ruichat.serve.problems import AccessError, log_bug

CONNECT = """
const component = { props, trigger, watch };
if (window.ruichat) window.ruichat.connect(component);
else window.ruichatComponent = component;
"""
"""Run by Gradio, sometimes before the page's own script has loaded: that finds it then."""

MAX_TABS = 10_000
"""Tabs of which it is remembered what they look at; the one longest silent goes first."""


class Tabs:
    """Which chat each tab looks at: only what it looks at now is told to it."""

    def __init__(self) -> None:
        self._looks: OrderedDict[str, int] = OrderedDict()
        self._count = count()

    def look(self, tab: str) -> Callable[[], bool]:
        """A tab looks at a chat from now on.

        Returns:
            Whether it still does.
        """
        number = next(self._count)
        self._looks[tab] = number
        self._looks.move_to_end(tab)
        while len(self._looks) > MAX_TABS:
            self._looks.popitem(last=False)
        return lambda: self._looks.get(tab) == number


def build_blocks(conversations: Conversations) -> gr.Blocks:
    """The page; everything that people see is drawn by the script in `web/`."""
    tabs, numbers = Tabs(), count(1)

    def told(shown: Shown) -> gr.HTML:
        # The number makes every message another one: the same error may come twice.
        return gr.HTML(chat=shown | {"number": next(numbers)})

    def failed(error: RuiChatError, chat_id: str | None) -> gr.HTML:
        empty = shown_of(ChatShown(chat_id=chat_id))
        return told(empty | {"error": problem_shown(error), "is_error": True})

    async def watched(
        chat_id: str, user: CurrentUser, request: gr.Request, **more: Any
    ) -> AsyncGenerator[gr.HTML]:
        looks = tabs.look(request.session_hash or "")
        async for shown in conversations.watch(chat_id, user_id=user.id):
            if not looks():
                return
            yield told(shown | more)

    async def ask(event: gr.EventData, request: gr.Request) -> AsyncGenerator[gr.HTML]:
        chat_id = None
        try:
            user = sender(request, Right.ASK)
            asked = asked_of(said(event))
            chat_id = asked.chat_id
            answered = await asyncio.to_thread(conversations.ask, asked, user_id=user.id)
            async for update in watched(answered, user, request, is_new=chat_id is None):
                yield update
        except Exception as error:
            yield failed(plainly(error), chat_id)

    async def look(event: gr.EventData, request: gr.Request) -> AsyncGenerator[gr.HTML]:
        try:
            user = sender(request, Right.READ)
            chat_id = looked_of(said(event)).chat_id
            if chat_id is None:
                tabs.look(request.session_hash or "")
                return
            async for update in watched(chat_id, user, request):
                yield update
        except Exception as error:
            yield failed(plainly(error), None)

    async def stop(event: gr.EventData, request: gr.Request) -> Any:
        try:
            user = sender(request, Right.ASK)
            chat_id = looked_of(said(event)).chat_id
            if chat_id is not None:
                await asyncio.to_thread(conversations.stop, chat_id, user_id=user.id)
        except Exception as error:
            return failed(plainly(error), None)
        return gr.skip()

    with gr.Blocks(title="RuiChat", analytics_enabled=False, fill_width=True) as blocks:
        bridge = gr.HTML(
            html_template="<span></span>", js_on_load=CONNECT, apply_default_css=False, chat=None
        )
        options: dict[str, Any] = {
            "inputs": None,
            "show_progress": "hidden",
            "trigger_mode": "multiple",
            "concurrency_limit": None,
            "api_visibility": "private",
        }
        bridge.submit(ask, outputs=bridge, **options)
        bridge.select(look, outputs=bridge, **options)
        bridge.clear(stop, outputs=bridge, **options)
    return blocks


def plainly(error: Exception) -> RuiChatError:
    """What the page may tell of an error that ends an event.

    Gradio would print one that is raised, with its words, which may be a patient's.
    """
    if isinstance(error, RuiChatError):
        return error
    log_bug(error)
    return RuiChatError("the server failed", hint="Tell the operator")


def said(event: gr.EventData) -> Any:
    """What the page's script sent along with an event."""
    return event._data  # pyright: ignore[reportPrivateUsage]


def sender(request: gr.Request, right: Right) -> CurrentUser:
    """Who sent an event, if their role holds a right.

    Raises:
        AccessError: nobody has logged in, or they may not.
    """
    assert request.request is not None, "events come with a request"
    user = current_user(request.request)
    if not user.holds(right):
        raise AccessError(f"a {user.role} may not {right.value} here", hint="Ask an admin")
    return user
