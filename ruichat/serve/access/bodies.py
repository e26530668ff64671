"""How much a request may bring along, counted while it is read."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope

_KEY = "ruichat.body"


@dataclass
class BodyLimit:
    """Most bytes of one request's body; a route that streams to disk may raise it."""

    max_bytes: int

    def check(self, num_bytes: int) -> None:
        """Refuse more than the limit.

        Raises:
            HTTPException: 413.
        """
        if num_bytes > self.max_bytes:
            raise HTTPException(413, f"more than {self.max_bytes} bytes were sent")


def body_limit(connection: HTTPConnection) -> BodyLimit:
    """The limit of a request under way."""
    limit = connection.scope[_KEY]
    assert isinstance(limit, BodyLimit)
    return limit


def counting(scope: Scope, receive: Receive, max_bytes: int) -> Receive:
    """A `receive` that refuses, when the body is read, what is beyond the limit.

    A body whose length is announced is refused before any of it is read.
    """
    limit = scope[_KEY] = BodyLimit(max_bytes)
    announced = Headers(scope=scope).get("content-length", "")
    num_bytes = 0

    async def receive_counted() -> Message:
        nonlocal num_bytes
        if announced.isdecimal():
            limit.check(int(announced))
        message = await receive()
        num_bytes += len(message.get("body", b""))
        limit.check(num_bytes)
        return message

    return receive_counted
