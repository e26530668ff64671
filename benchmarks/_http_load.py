"""Clients that cost little: many keep-alive connections in one thread, one request each at a time.

What answers is measured, not what asks: a request is built once, an answer is only counted.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HEAD_END = b"\r\n\r\n"


@dataclass
class Load:
    """What a stretch of requests took.

    Attributes:
        latencies_s: of each request, until the last byte of its answer.
        seconds: of all.
        num_bytes: of all bodies.
        statuses: how often each came.
    """

    latencies_s: list[float] = field(default_factory=list[float])
    seconds: float = 0.0
    num_bytes: int = 0
    statuses: dict[int, int] = field(default_factory=dict[int, int])


class _Client:
    """One connection, and what it asks for in turn."""

    def __init__(self, address: tuple[str, int], paths: Iterator[str], headers: str) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"Host: {address[0]}:{address[1]}\r\n{headers}\r\n"
        self._paths = paths
        self._got = bytearray()
        self._size = -1
        self._body = 0
        self.began = 0.0

    def ask(self) -> bool:
        """Send the next request; False if there is none."""
        path = next(self._paths, None)
        if path is None:
            return False
        self._got.clear()
        self._size = -1
        self.began = time.perf_counter()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{self._head}".encode())
        return True

    def receive(self) -> tuple[int, int] | None:
        """Status and bytes of the body, once the answer is complete."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed a connection")
        self._got += data
        if self._size < 0:
            end = self._got.find(HEAD_END)
            if end < 0:
                return None
            head = bytes(self._got[:end]).lower()
            self._status = int(head[9:12])
            place = head.find(b"content-length:")
            length = 0 if place < 0 else int(head[place + 15 :].split(b"\r\n", 1)[0])
            self._body = length
            self._size = end + len(HEAD_END) + length
        return (self._status, self._body) if len(self._got) >= self._size else None


def load(
    address: tuple[str, int],
    paths: Sequence[Sequence[str]],
    *,
    headers: str = "",
    limit_s: float = 600.0,
) -> Load:
    """Ask for paths, those of each client one after the other, all clients at once.

    Args:
        address: host and port.
        paths: for each client.
        headers: lines more, each with its end.
        limit_s: nobody asks for more after so long.
    """
    chosen = selectors.DefaultSelector()
    found = Load()
    clients = [_Client(address, iter(each), headers) for each in paths]
    began = time.perf_counter()
    for client in clients:
        if client.ask():
            chosen.register(client.socket, selectors.EVENT_READ, client)
    while chosen.get_map():
        for key, _ in chosen.select():
            client: _Client = key.data
            answer = client.receive()
            if answer is None:
                continue
            now = time.perf_counter()
            found.latencies_s.append(now - client.began)
            found.num_bytes += answer[1]
            found.statuses[answer[0]] = found.statuses.get(answer[0], 0) + 1
            if now - began > limit_s or not client.ask():
                chosen.unregister(client.socket)
    found.seconds = time.perf_counter() - began
    for client in clients:
        client.socket.close()
    return found


def host_and_port(address: str) -> tuple[str, int]:
    """Of a URL."""
    parts = urlsplit(address)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port
