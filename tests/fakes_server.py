"""A small real HTTP server that speaks as OpenAI-compatible servers do, well and badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler", dict[str, Any]], None]


@dataclass
class FakeServer:
    """What it is asked and how it replies.

    Attributes:
        reply: answers a chat completion.
        models: that it lists; None if it has no such list.
        requests: bodies it was sent.
        headers: of the requests.
    """

    reply: Reply
    models: list[str] | None = field(default_factory=lambda: ["vision"])
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    closed_early: int = 0
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    fake: FakeServer

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def do_GET(self) -> None:
        self.fake.headers.append(dict(self.headers))
        if self.path != "/v1/models" or self.fake.models is None:
            self.send(404, b"{}")
            return
        listed = {"data": [{"id": name} for name in self.fake.models]}
        self.send(200, json.dumps(listed).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.fake.requests.append(body)
        self.fake.headers.append(dict(self.headers))
        try:
            self.fake.reply(self, body)
        except (BrokenPipeError, ConnectionResetError):
            self.fake.closed_early += 1
            self.close_connection = True

    def send(
        self, status: int, content: bytes, *, kind: str = "application/json", **more: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def begin(self) -> None:
        """Begin a stream of events."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.flush()

    def event(self, value: Any) -> None:
        self.chunk(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    def word(self, text: str, logprob: float | None = None, finish: str | None = None) -> None:
        """One piece of an answer."""
        choice: dict[str, Any] = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        if logprob is not None:
            choice["logprobs"] = {"content": [{"token": text, "logprob": logprob}]}
        self.event({"choices": [choice]})

    def end(self) -> None:
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def drop(self) -> None:
        """Close the connection as a crashed server does."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()


def says(*words: str, logprob: float | None = -0.25) -> Reply:
    """Streams words and ends as it should."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        handler.begin()
        for word in words:
            handler.word(word, logprob if body.get("logprobs") else None)
        handler.word("", None, "stop")
        handler.end()

    return reply


def in_turn(*replies: Reply) -> Reply:
    """The first reply to the first request, and so on; the last to all that follow."""
    left = list(replies)

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler, body)

    return reply


def refuses(status: int, message: str, **headers: str) -> Reply:
    """An error as OpenAI words it."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        content = json.dumps({"error": {"message": message}}).encode()
        handler.send(status, content, **headers)

    return reply


def sleeps(seconds: float) -> Reply:
    """Takes its time before the first word."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        says("late")(handler, body)

    return reply


@contextmanager
def serve(reply: Reply, **settings: Any) -> Iterator[FakeServer]:
    """A server on a free port of this machine."""
    fake = FakeServer(reply, **settings)
    handler = type("Bound", (Handler,), {"fake": fake})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
