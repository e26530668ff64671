"""Of Gradio's routes only those that the page needs: its file routes stay closed.

Gradio hands out cached files, proxies addresses, records runs and takes uploads for whoever
asks. Slides and reports leave through routes of ours, which know whose they are.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import OrderedDict
from collections.abc import Container
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ruichat.errors import InputError, NotFoundError
from ruichat.serve.access.gradio_events import SESSION, event_of
from ruichat.serve.access.headers import content_policy
from ruichat.serve.access.roles import CurrentUser, Right
from ruichat.serve.access.routes import USER_KEY, MountRule, declare_mount
from ruichat.serve.problems import error_response

_FILE = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"

OPEN = re.compile(
    rf"GET /|HEAD /|GET /config/?|GET /(theme\.css|favicon\.ico|manifest\.json)"
    rf"|GET /gradio_api/(theme\.css|info/?|app_id/?|startup-events)"
    rf"|GET /(assets|static)(/{_FILE})+"
    rf"|GET /gradio_api/heartbeat/{SESSION}"
    rf"|GET /gradio_api/queue/data|POST /gradio_api/(queue/join|cancel|reset/?)"
)
"""Method and path, below the mount, of what the page asks for."""

_WRITES = re.compile(r"/gradio_api/(queue/join|cancel|reset/?)")

_INLINE = re.compile(rb"<script(?![^>]*\ssrc\s*=)[^>]*>(.*?)</script>", re.DOTALL)

MAX_SESSIONS = 10_000
"""Tabs whose owner is remembered; the one longest silent goes first."""


class GradioGate:
    """Lets through what the page needs, each tab only for the person who opened it.

    Args:
        app: Gradio's application.
        functions: numbers of what events may ask for.
    """

    def __init__(self, app: ASGIApp, functions: Container[int]) -> None:
        self._app, self._functions = app, functions
        self._owners: OrderedDict[str, str] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        session, is_known = _session_of(scope, path), True
        if _WRITES.fullmatch(path) is not None and scope["method"] == "POST":
            body = await _read(receive)
            try:
                event = event_of(path, body)
            except InputError as error:
                await error_response(error, scope)(scope, receive, send)
                return
            session, receive = event.session_hash, _again(body, receive)
            is_known = event.fn_index is None or event.fn_index in self._functions
        allowed = OPEN.fullmatch(f"{scope['method']} {path}") is not None
        if not (allowed and is_known and self._is_own(scope, session)):
            missing = NotFoundError("there is nothing here")
            await error_response(missing, scope)(scope, receive, send)
        elif path == "/":
            await _Page(self._app)(scope, receive, send)
        elif path.startswith("/assets/"):
            await self._app(scope, receive, _keeping(send))
        else:
            await self._app(scope, receive, send)

    def _is_own(self, scope: Scope, session: str | None) -> bool:
        """Whether a tab belongs to whoever asks: the first to name it."""
        user = scope.get(USER_KEY)
        if session is None or not isinstance(user, CurrentUser):
            return session is None
        if re.fullmatch(SESSION, session) is None:
            return False
        owner = self._owners.setdefault(session, user.id)
        self._owners.move_to_end(session)
        while len(self._owners) > MAX_SESSIONS:
            self._owners.popitem(last=False)
        return owner == user.id


def _keeping(send: Send) -> Send:
    """A `send` that lets browsers keep a file: the names of these change with their content."""

    async def send_lasting(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            MutableHeaders(scope=message)["Cache-Control"] = "private, max-age=31536000, immutable"
        await send(message)

    return send_lasting


class _Page:
    """The page itself: its own inline scripts may run, named by their digests, no others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        parts: list[bytes] = []

        async def hold(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            if message["type"] != "http.response.body":
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                body = b"".join(parts)
                headers = MutableHeaders(scope=start)
                headers["Content-Security-Policy"] = page_policy(body)
                await send(start)
                await send({"type": "http.response.body", "body": body})

        # What is compressed can't be read here; the page is small.
        plain = [(k, v) for k, v in scope["headers"] if k != b"accept-encoding"]
        await self._app({**scope, "headers": plain}, receive, hold)


def page_policy(html: bytes) -> str:
    """The policy of a page: scripts of ours, and those written into it before it was sent.

    Gradio 6 compiles the templates of its HTML component in the browser, which needs
    'unsafe-eval'; what text of a person or a model is put into them stays text.
    """
    digests = (base64.b64encode(hashlib.sha256(found).digest()) for found in _INLINE.findall(html))
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    return content_policy(script_src=f"'self' 'unsafe-eval' {allowed}".strip())


def close_gradio(app: FastAPI, path: str) -> None:
    """Put the gate before Gradio, which has just been mounted; whoever may read may open it.

    Args:
        path: where it is mounted, without a slash at the end.
    """
    mounts = [route for route in app.routes if isinstance(route, Mount) and route.path == path]
    assert len(mounts) == 1, f"{len(mounts)} mounts at {path!r}"
    gradio: Any = mounts[0].app
    mounts[0].app = GradioGate(gradio, gradio.get_blocks().fns)
    declare_mount(app, path, MountRule(Right.READ, tokenless=_WRITES))


def _session_of(scope: Scope, path: str) -> str | None:
    """The tab that a request of Gradio's stream is about."""
    if path.startswith("/gradio_api/heartbeat/"):
        return path.rsplit("/", 1)[1]
    if path == "/gradio_api/queue/data":
        return parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[-1]
    return None


async def _read(receive: Receive) -> bytes:
    """The whole body of a request; its length is bounded by whoever let it in."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, then what comes after it."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give
