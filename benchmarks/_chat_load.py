"""People who chat over HTTP, all in one thread: each asks, reads the stream, and asks again."""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from _next_question import DIALOGUES

PATH = "/v1/chat/completions"

Place = tuple[str, int]
"""Host and port."""

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Person:
    """Somebody who asks.

    Attributes:
        token: says who it is.
        slide_id: what all their questions are about.
    """

    token: str
    slide_id: str


@dataclass
class Talk:
    """What a stretch of questions and answers took.

    Attributes:
        first_s: from each question to the first words of its answer.
        gaps_s: between two pieces of an answer, some of which hold several text tokens.
        num_answers: read to their end.
        num_tokens: text tokens that the model wrote.
        seconds: of all.
    """

    first_s: list[float] = field(default_factory=list[float])
    gaps_s: list[float] = field(default_factory=list[float])
    num_answers: int = 0
    num_tokens: int = 0
    seconds: float = 0.0


@contextmanager
def talking(place: Place, people: Sequence[Person]) -> Generator[Callable[[], Talk]]:
    """People chat in another process until what this gives is called, which tells what it took."""
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe()
    process = spawn.Process(target=_talk_until_told, args=(theirs, place, people), daemon=True)
    process.start()
    theirs.close()
    mine.recv()

    def stop() -> Talk:
        mine.send("stop")
        return mine.recv()

    try:
        yield stop
    finally:
        mine.close()
        process.join(60)


def _talk_until_told(told: Connection, place: Place, people: Sequence[Person]) -> None:
    told.send("ready")
    found = asyncio.run(talk(place, people, lambda: not told.poll()))
    told.recv()
    told.send(found)


async def talk(place: Place, people: Sequence[Person], goes_on: Callable[[], bool]) -> Talk:
    """Let people chat; answers that were begun are read to their end.

    Raises:
        RuntimeError: a question wasn't answered.
    """
    found, began = Talk(), time.perf_counter()
    chats = (_chat(place, person, number, goes_on, found) for number, person in enumerate(people))
    await asyncio.gather(*chats)
    found.seconds = time.perf_counter() - began
    return found


async def _chat(
    place: Place, person: Person, number: int, goes_on: Callable[[], bool], found: Talk
) -> None:
    """One dialogue after the other, each person beginning with another one."""
    while goes_on():
        messages: Messages = []
        for question in DIALOGUES[number % len(DIALOGUES)]:
            messages.append(question_about(person.slide_id, question))
            text = await _ask(place, person.token, messages, found)
            messages.append({"role": "assistant", "content": text})
        number += 1


async def _ask(place: Place, token: str, messages: Messages, found: Talk) -> str:
    """The answer's text; how it came is noted."""
    reader, writer = await asyncio.open_connection(*place)
    began = time.perf_counter()
    last, text, body = 0.0, "", json.dumps(form(messages)).encode()
    writer.write(
        f"POST {PATH} HTTP/1.1\r\nHost: {place[0]}:{place[1]}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )
    status = await reader.readline()
    if b" 200 " not in status:
        raise RuntimeError(f"{status!r} {await reader.read()!r}")
    while line := await reader.readline():
        now, told = time.perf_counter(), told_by(line)
        if words := words_of(told):
            (found.gaps_s if last else found.first_s).append(now - (last or began))
            last, text = now, text + words
        elif told.get("usage"):
            found.num_tokens += told["usage"]["completion_tokens"]
    writer.close()
    if not text:
        raise RuntimeError("an answer without words")
    found.num_answers += 1
    return text


def leave(place: Place, person: Person, times: int) -> tuple[list[float], list[float]]:
    """Ask, leave at the first words, and ask again until that is allowed.

    The server must allow one open question per person: then the second one is taken in as soon as
    the first no longer counts.

    Returns:
        Seconds until the second question was taken in, and how long its answer took from the
        first words to the end: what the first one would have taken.
    """
    freed, rests = [], []
    messages = [question_about(person.slide_id, DIALOGUES[0][0])]
    for _ in range(times):
        connection, answer = _open(place, person.token, messages)
        _until_words(answer)
        connection.close()
        answer.close()
        left = time.perf_counter()
        connection, answer = _open(place, person.token, messages)
        while answer.status == http.client.TOO_MANY_REQUESTS:
            connection.close()
            time.sleep(0.005)
            connection, answer = _open(place, person.token, messages)
        freed.append(time.perf_counter() - left)
        _until_words(answer)
        began = time.perf_counter()
        answer.read()
        rests.append(time.perf_counter() - began)
        connection.close()
    return freed, rests


def _open(
    place: Place, token: str, messages: Messages
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(*place, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("POST", PATH, json.dumps(form(messages)), headers)
    return connection, connection.getresponse()


def _until_words(answer: http.client.HTTPResponse) -> None:
    if answer.status != http.client.OK:
        raise RuntimeError(f"{answer.status} {answer.read()!r}")
    while not words_of(told_by(answer.readline())):
        pass


def form(messages: Messages) -> dict[str, Any]:
    """Body of a request."""
    wishes = {"stream": True, "stream_options": {"include_usage": True}}
    return {"model": "mini", "messages": messages} | wishes


def question_about(slide_id: str, question: str) -> dict[str, Any]:
    """A person's turn."""
    slide = {"type": "ruichat_slide", "slide_id": slide_id}
    return {"role": "user", "content": [slide, {"type": "text", "text": question}]}


def told_by(line: bytes) -> dict[str, Any]:
    """What a line of the stream says; nothing where it is no event.

    Raises:
        RuntimeError: it tells of an error.
    """
    if not line.startswith(b"data: {"):
        return {}
    told = json.loads(line[6:])
    if "error" in told:
        raise RuntimeError(told["error"])
    return told


def words_of(told: dict[str, Any]) -> str:
    """Words that an event brings."""
    return "".join(choice["delta"].get("content") or "" for choice in told.get("choices", ()))
