"""The server's one application: its routes, its door, and what it opens and closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from ruichat import __version__
from ruichat.errors import RuiChatError
from ruichat.serve.access import logins, oidc
from ruichat.serve.access.guard import Guard
from ruichat.serve.access.routes import check_routes
from ruichat.serve.api import (
    cases,
    chats,
    citations,
    findings,
    health,
    me,
    metrics,
    model,
    openai,
    openapi,
    regions,
    slides,
    users,
)
from ruichat.serve.api.shapes import CONFLICT, FULL, NOT_FOUND, problems
from ruichat.serve.heap import give_back_regularly
from ruichat.serve.page import keeping
from ruichat.serve.page.files import PAGE
from ruichat.serve.page.mount import mount_page
from ruichat.serve.problems import add_handlers
from ruichat.serve.services import open_services, services_of_app
from ruichat.serve.settings import ServeSettings
from ruichat.serve.slides import adding_routes, overlay_routes
from ruichat.serve.slides import routes as slide_routes

ROUTERS = (
    health.router,
    metrics.router,
    logins.router,
    oidc.router,
    openapi.router,
)
"""At the root: what browsers and supervisors ask for."""

OWN_ERRORS = (
    slide_routes.router,  # tiles first: a request is compared with one route after the other
    overlay_routes.router,
    adding_routes.router,
    openai.router,
)
"""At the root too, for the viewer and for OpenAI's clients: these leave our errors undeclared."""

API = (
    me.router,
    model.router,
    cases.router,
    slides.router,
    regions.router,
    chats.router,
    citations.router,
    keeping.router,
    findings.router,
    users.router,
)
"""Under /api/v1: what programs ask for."""


def create_app(settings: ServeSettings) -> FastAPI:
    """Build the server.

    Args:
        settings: what the operator chose.

    Returns:
        An ASGI application; it opens what it needs when it starts, and refuses to start with a
        route that doesn't say who may use it.

    Raises:
        ConfigError, PrerequisiteError: the database can't be opened.
    """
    app = FastAPI(
        title="RuiChat",
        version=__version__,
        summary="Ask whole-slide images questions; answers cite the regions they rest on",
        lifespan=_lifespan,
        openapi_url=None,  # api.openapi serves it to whoever has a login
    )
    services = open_services(settings)
    app.state.services = services
    add_handlers(app)
    for router in OWN_ERRORS:
        app.include_router(router, responses=problems(NOT_FOUND, CONFLICT, FULL))
    for router in ROUTERS:
        app.include_router(router)
    for router in API:
        app.include_router(router, prefix="/api/v1")
    mount_page(app, services)
    app.add_middleware(
        Guard,
        outer=app,
        settings=settings,
        identities=services.identities,
        pages=("/", PAGE, f"{PAGE}/"),
        note=services.metrics.note,
    )
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    services = services_of_app(app)
    try:
        check_routes(app)
        await to_thread.run_sync(services.start)
        giving_back = asyncio.create_task(give_back_regularly())
        try:
            yield
        finally:
            giving_back.cancel()
    except RuiChatError as error:
        app.state.failure = error
        raise
    finally:
        await to_thread.run_sync(services.close)
