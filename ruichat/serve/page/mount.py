"""Hangs the page into the server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import gradio as gr
from anyio import to_thread
from fastapi import FastAPI, Request
from gradio.themes import Base

from ruichat.serve.access.gradio_routes import close_gradio
from ruichat.serve.access.routes import current_user
from ruichat.serve.page.blocks import build_blocks
from ruichat.serve.page.conversations import Conversations
from ruichat.serve.page.files import PAGE, head, router
from ruichat.serve.services import Services

FONTS = ("system-ui", "sans-serif")
MONO_FONTS = ("ui-monospace", "monospace")


def mount_page(app: FastAPI, services: Services) -> None:
    """Serve the page at `/page`; whoever may read may open it."""
    conversations = Conversations(services.database, services.engine)
    app.include_router(router)
    gr.mount_gradio_app(
        app,
        build_blocks(conversations),
        path=PAGE,
        auth_dependency=_user_id,
        head=head(),
        theme=Base(font=FONTS, font_mono=MONO_FONTS),
        footer_links=[],
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
    )
    close_gradio(app, PAGE)
    _close_with(app, conversations)


def _user_id(request: Request) -> str:
    return current_user(request).id


def _close_with(app: FastAPI, conversations: Conversations) -> None:
    """Keep what was written of open answers before the server's parts are closed."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[Any]:
        async with inner(app) as state:
            yield state
            await to_thread.run_sync(conversations.close)

    app.router.lifespan_context = lifespan
