"""The chat of the page, as its script speaks with Gradio: questions in, what is seen out."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import httpx

QUEUE = "/page/gradio_api/queue"

ASK, LOOK, STOP = 0, 1, 2
"""What the page says, in the order in which Gradio numbers it."""

Shown = dict[str, Any]


def say(http: httpx.Client, what: int, tab: str, data: dict[str, Any]) -> httpx.Response:
    """One event of a tab."""
    body = {"data": [None], "fn_index": what, "session_hash": tab, "event_data": data}
    return http.post(f"{QUEUE}/join", json=body)


def seen(http: httpx.Client, tab: str) -> Generator[Shown]:
    """Chats as a tab sees them, first and last; changes between these aren't put together.

    Raises:
        httpx.HTTPStatusError: the tab sees nothing.
    """
    with http.stream("GET", f"{QUEUE}/data", params={"session_hash": tab}) as stream:
        stream.raise_for_status()
        for line in stream.iter_lines():
            told = json.loads(line[6:]) if line.startswith("data: ") else {}
            if told.get("msg") == "close_stream":
                return
            for value in told.get("output", {}).get("data") or ():
                if isinstance(value, dict) and value.get("props", {}).get("chat"):
                    yield value["props"]["chat"]
            # A failure that the page itself can't tell of would look like silence here.
            assert told.get("success", True), told
