"""The door: every request passes it before any route sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ruichat.errors import RuiChatError
from ruichat.serve.access import csrf
from ruichat.serve.access.bodies import counting
from ruichat.serve.access.headers import protect
from ruichat.serve.access.identity import COOKIE, Identities
from ruichat.serve.access.limits import RateLimit
from ruichat.serve.access.login_page import onward_page
from ruichat.serve.access.roles import CurrentUser
from ruichat.serve.access.routes import (
    USER_KEY,
    carries_no_token,
    is_public,
    is_uncounted,
    pattern_of,
)
from ruichat.serve.problems import AccessError, bug_response, error_response, log_bug
from ruichat.serve.settings import ServeSettings

REQUESTS = "ruichat.serve.requests"
"""Name of the log of requests."""

log = logging.getLogger(REQUESTS)

CLIENT_GONE = 499
"""Status in the log where a client left before the answer began, as nginx writes it."""


class Guard:
    """Middleware that names the sender of each request, or turns it away.

    Args:
        app: what comes after it.
        outer: the application whose routes say what is public.
        pages: paths that other sites may lead a person to who has logged in.
        note: told method, route's pattern, status and seconds of each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        outer: FastAPI,
        settings: ServeSettings,
        identities: Identities,
        pages: Collection[str],
        note: Callable[[str, str | None, int, float], None],
    ) -> None:
        self._app = app
        self._outer = outer
        self._settings = settings
        self._identities = identities
        self._pages = pages
        self._note = note
        self._limit = RateLimit(settings.requests_per_minute, 60)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            # Nothing here speaks over them, and browsers don't ask before they open one.
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def send_protected(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                protect(MutableHeaders(scope=message), self._settings)
            await send(message)

        try:
            refusal = await self._admit(scope)
            counted = counting(scope, receive, self._settings.max_body_bytes)
            await (refusal or self._app)(scope, counted, send_protected)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception as error:
            # Further out it would be logged with its words, which may name a patient.
            log_bug(error)
            if status:
                raise ConnectionAbortedError("an answer broke off") from None
            await bug_response(scope)(scope, receive, send_protected)
        finally:
            seconds = time.perf_counter() - started
            pattern = pattern_of(self._outer, scope)
            self._note(scope["method"], pattern, status, seconds)
            _log(scope, pattern, status, seconds)

    async def _admit(self, scope: Scope) -> Response | None:
        """Put the sender into the scope; or the answer that turns them away."""
        connection = HTTPConnection(scope)
        try:
            csrf.check_host(connection.headers.get("host", ""), self._settings)
            user = await self._identities.find(connection)
            scope[USER_KEY] = user
            public = is_public(self._outer, scope["method"], scope["path"])
            if scope["method"] not in csrf.SAFE_METHODS:
                csrf.check_origin(connection.headers, scope["scheme"], self._settings)
                if user is not None and user.means == "cookie" and not public:
                    self._check_page(connection, user)
            if user is None and not public:
                return self._turn_away(connection)
            if user is not None and not is_uncounted(scope["method"], scope["path"]):
                self._limit.take(user.id)
        except RuiChatError as error:
            return error_response(error, scope)
        return None

    def _check_page(self, connection: HTTPConnection, user: CurrentUser) -> None:
        csrf.check_sent_by_browser(connection.headers)
        if not carries_no_token(self._outer, connection.scope["path"]):
            csrf.check_token(connection.headers, user)

    def _turn_away(self, connection: HTTPConnection) -> Response:
        """To the login for people, an error for programs."""
        wants_page = "text/html" in connection.headers.get("accept", "")
        if connection.scope["method"] == "GET" and wants_page:
            path = connection.url.path
            login = f"/login?next={quote(path, safe='')}"
            # Browsers withhold our strict cookie from another site's link. From a page of ours it
            # comes along to the login, which then leads on; only to pages, never to what they ask.
            from_outside = csrf.comes_from_outside(connection.headers)
            if path in self._pages and from_outside and COOKIE not in connection.cookies:
                return onward_page(login)
            return RedirectResponse(login, 303)
        error = AccessError("no login", hint="Log in at /login, or send a bearer token", status=401)
        return error_response(error, connection.scope)


def _log(scope: Scope, pattern: str | None, status: int, seconds: float) -> None:
    """One line a request: the route's pattern instead of its path, no query, no name.

    Tiles and files of the page have one only where they failed.
    """
    if is_uncounted(scope["method"], scope["path"]) and status < HTTPStatus.BAD_REQUEST:
        return
    user = scope.get(USER_KEY)
    log.info(
        "%s %s %s %.0f ms user %s",
        scope["method"],
        pattern or "-",
        status,
        seconds * 1000,
        user.id if isinstance(user, CurrentUser) else "-",
    )
