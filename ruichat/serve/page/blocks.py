"""The Gradio application: the way between the page's script and Python, for the chat."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
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
from ruichat.serve.page.tabs import Tabs
from ruichat.serve.problems import AccessError, log_bug

CONNECT = """
const component = { props, trigger, watch };
if (window.ruichat) window.ruichat.connect(component);
else window.ruichatComponent = component;
"""
"""Run by Gradio, sometimes before the page's own script has loaded: that finds it then."""


def build_blocks(conversations: Conversations) -> gr.Blocks:
    """The page; everything that people see is drawn by the script in `web/`."""
    tabs, numbers = Tabs(), count(1)

    def told(shown: Shown) -> gr.HTML:
        # The number makes every message another one: the same error may come twice.
        return gr.HTML(chat=shown | {"number": next(numbers)})

    def failed(error: Exception, chat_id: str | None, **more: Any) -> gr.HTML:
        empty = shown_of(ChatShown(chat_id=chat_id))
        problem = problem_shown(plainly(error))
        return told(empty | {"error": problem, "is_error": True} | more)

    async def ask(event: gr.EventData, request: gr.Request) -> AsyncGenerator[Any]:
        chat_id, question = None, 0
        try:
            asked = asked_of(said(event))
            chat_id, question = asked.chat_id, asked.question
            user = sender(request, Right.ASK)
            # Before it is taken in: what the tab turns to meanwhile is what it looks at.
            looking = tabs.look(request.session_hash or "")
            chat_id = await asyncio.to_thread(conversations.ask, asked, user_id=user.id)
            more = {"question": question, "is_new": asked.chat_id is None}
            updates = conversations.watch(chat_id, user_id=user.id)
            async for update in tabs.follow(looking, chat_id, updates, is_asked=True):
                yield gr.skip() if update is None else told(update | more)
        except Exception as error:
            yield failed(error, chat_id, question=question)

    async def look(event: gr.EventData, request: gr.Request) -> AsyncGenerator[Any]:
        chat_id = None
        try:
            user = sender(request, Right.READ)
            chat_id = looked_of(said(event)).chat_id
            looking = tabs.look(request.session_hash or "")
            if chat_id is None:
                return
            updates = conversations.watch(chat_id, user_id=user.id)
            async for update in tabs.follow(looking, chat_id, updates):
                yield gr.skip() if update is None else told(update)
        except Exception as error:
            yield failed(error, chat_id)

    async def stop(event: gr.EventData, request: gr.Request) -> Any:
        chat_id = None
        try:
            user = sender(request, Right.ASK)
            chat_id = looked_of(said(event)).chat_id
            if chat_id is not None:
                await asyncio.to_thread(conversations.stop, chat_id, user_id=user.id)
        except Exception as error:
            return failed(error, chat_id)
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
