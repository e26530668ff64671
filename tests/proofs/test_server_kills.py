"""The server killed at random while people ask, draw and decide through its page and its API."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from databases import Postgres, why_no_postgres
from drawn import draw_tissue, write_pyramid
from fakes_server import says, serve
from nursery import Nursery
from page_chat import ASK, say, seen

from ruichat.storage.database import slides
from ruichat.storage.database.connect import open_database
from ruichat.storage.database.copying import check_database

NUM_KILLS = int(os.environ.get("RUICHAT_KILLS", "200"))

NUM_WRITERS = 2
"""Each writes chats, regions and findings of its own, all into one case."""

NUM_ASKERS = 2
"""Each asks in a chat of its own, life after life."""

LONGEST_CHAT = 40
"""Messages, after which an asker begins another one."""

LONGEST_LIFE_S = 1.0
"""Of a server, from the first answer that it gives."""

LONG_FROM = 6
"""The last lives of every eight last until the model has answered: the slide is opened first."""

PATIENCE_S = 120.0
"""Longest wait for that."""

FIRST_TITLE = "有肿瘤吗？"

BOX = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


SHOWN = ("id", "role", "text", "state", "slide_ids")
"""Of a message, alike in the page and in the API."""

Records = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Desk:
    """Where clients write."""

    case: str
    slide: str


class GoneError(Exception):
    """The server, or the database behind it, doesn't answer any more."""


@dataclass
class Client:
    """One that writes until the server is gone, and keeps what it was told is kept."""

    desk: Desk
    records: Records = field(default_factory=dict[str, dict[str, Any]])
    """By path, what a GET has to give; messages by their ids."""
    num_writes: int = 0
    failure: BaseException | None = None

    def live(self, address: str, began: threading.Event, ended: threading.Event) -> None:
        """Write until the server is gone or `ended`; `began` is set with the first answer."""
        self._began = began
        try:
            with httpx.Client(base_url=address, timeout=60) as http:
                while not ended.is_set():
                    self.turn(http, os.urandom(500).hex())
        except (httpx.TransportError, GoneError):
            pass
        except BaseException as error:
            self.failure = error
        began.set()

    def turn(self, http: httpx.Client, words: str) -> None:
        """A finding is drawn and decided on, a chat is begun and renamed, a region drawn."""
        of_slide, place = f"slides/{self.desk.slide}", f"cases/{self.desk.case}/chats"
        finding = self._write(http, "findings", f"{of_slide}/findings", geometry=BOX, note=words)
        for verb in ("accept", "undo", "reject"):
            where = f"findings/{finding['id']}/{verb}"
            finding = self._write(http, "findings", where, revision=finding["revision"])
        chat = self._write(http, "chats", place, language="zh", title=FIRST_TITLE)
        self._write(http, "chats", f"chats/{chat['id']}", "PATCH", title=words[:100])
        corners, name = [[0, 0], [100, 100]], words[:100]
        shape: dict[str, Any] = {"shape": "rectangle", "points": corners, "name": name}
        self._write(http, "regions", f"{of_slide}/regions", **shape)

    def _write(
        self, http: httpx.Client, kind: str, place: str, method: str = "POST", **body: Any
    ) -> dict[str, Any]:
        answer = http.request(method, f"/api/v1/{place}", json=body)
        check_there(answer)
        kept = answer.json()
        self._note(f"{kind}/{kept['id']}", kept)
        return kept

    def _note(self, path: str, kept: dict[str, Any]) -> None:
        self.num_writes += self.records.get(path) != kept
        self.records[path] = kept
        self._began.set()


@dataclass
class Asker(Client):
    """One that asks through the page, and reads the answers.

    Attributes:
        chat_id: asked in; None begins a chat.
    """

    chat_id: str | None = None

    def turn(self, http: httpx.Client, words: str) -> None:
        """A question, which counts as kept when it is shown, and its answer, once it is whole."""
        asked = {"case_id": self.desk.case, "chat_id": self.chat_id, "slide_ids": [self.desk.slide]}
        tab = os.urandom(6).hex()
        check_there(say(http, ASK, tab, asked | {"text": f"Is there tumour? {words[:500]}"}))
        try:
            for shown in seen(http, tab):
                if error := shown.get("error") or shown["messages"][-1].get("error"):
                    if "it took more than" in error["message"]:
                        time.sleep(0.1)  # on a busy machine a decoder may be too slow
                        return
                    assert "database" in error["message"], error
                    raise GoneError
                self.chat_id = shown["chat_id"] if len(shown["messages"]) < LONGEST_CHAT else None
                for message in shown["messages"][-2:]:
                    if message["id"] != "running":
                        about = {key: message[key] for key in SHOWN}
                        self._note(
                            f"messages/{message['id']}", about | {"chat_id": shown["chat_id"]}
                        )
        except httpx.HTTPStatusError as error:
            check_there(error.response)
            raise


def check_there(answer: httpx.Response) -> None:
    """Raise `GoneError` where the database doesn't answer; any other failure is a bug."""
    if answer.status_code == 503:
        raise GoneError
    assert answer.status_code in (200, 201), answer.read()


def make_desk(url: str, address: str) -> Desk:
    """A case through the API, and a slide in it."""
    case = httpx.post(f"{address}/api/v1/cases", json={"title": "S26-1"}, timeout=60).json()
    database = open_database(url)
    with database.session() as session:
        slide = slides.add_slide(
            session,
            user_id=case["owner_id"],
            case_id=case["id"],
            name="A1",
            root="glass",
            path="a.tif",
        ).id
    database.close()
    return Desk(case["id"], slide)


def live_once(
    nursery: Nursery,
    clients: list[Client],
    before: Records,
    seconds: float,
    kill: Callable[[int], None],
    *,
    is_long: bool,
) -> None:
    """Start a server, look for what was there, write, kill so long after the first answer.

    Args:
        clients: who write.
        before: what the server before it has acknowledged.
        kill: given the server's process id; it may kill the database instead.
        is_long: the model has to have answered too.
    """
    pid, address = nursery.start()
    check(address, before)
    began, ended = threading.Event(), threading.Event()
    threads = [threading.Thread(target=each.live, args=(address, began, ended)) for each in clients]
    for thread in threads:
        thread.start()
    began.wait()
    ends = time.monotonic() + PATIENCE_S
    while is_long and not any(has_answer(client) or client.failure for client in clients):
        assert time.monotonic() < ends, "nothing was answered"
        time.sleep(0.02)
    time.sleep(seconds)
    kill(pid)
    # Whoever hasn't noticed that the database was gone for a moment.
    ended.set()
    for thread in threads:
        thread.join()
    for client in clients:
        if client.failure is not None:
            raise client.failure
    nursery.kill(pid)


def check(address: str, records: Records) -> None:
    """What was acknowledged is what a server gives now."""
    with httpx.Client(base_url=f"{address}/api/v1/", timeout=60) as http:
        said: dict[str, dict[str, Any]] = {}
        for chat in {body["chat_id"] for path, body in records.items() if is_message(path)}:
            answer = http.get(f"chats/{chat}/messages", params={"limit": 2 * LONGEST_CHAT})
            said |= {each["id"]: each for each in answer.json()["items"]}
        for path, body in records.items():
            if is_message(path):
                now = said[path.partition("/")[2]]
                assert {key: now[key] for key in body} == body, path
                continue
            answer = http.get(path)
            assert answer.status_code == 200, path
            now = answer.json()
            if now != body:
                # One later change was kept too, whose answer was lost with the server.
                if path.startswith("findings"):
                    assert now["revision"] == body["revision"] + 1, path
                else:
                    assert path.startswith("chats") and body["title"] == FIRST_TITLE, path


def has_answer(client: Client) -> bool:
    """Whether the model has answered what it asked."""
    return any(body.get("role") == "assistant" for body in list(client.records.values()))


def is_message(path: str) -> bool:
    """Whether a record is a message's."""
    return path.startswith("messages/")


def prove(nursery: Nursery, desk: Desk, kill: Callable[[int, int], None]) -> tuple[int, Records]:
    """Kill so many times; returns how many writes were acknowledged, and the records of them.

    Args:
        kill: given the number of the life and the server's process id.
    """
    rng, latest, records = random.Random(0), Records(), Records()
    clients = [
        *(Client(desk) for _ in range(NUM_WRITERS)),
        *(Asker(desk) for _ in range(NUM_ASKERS)),
    ]
    for number in range(NUM_KILLS):
        seconds = rng.uniform(0, LONGEST_LIFE_S)
        is_long = number % 8 >= LONG_FROM
        live_once(
            nursery, clients, latest, seconds, lambda pid, n=number: kill(n, pid), is_long=is_long
        )
        latest = {path: body for client in clients for path, body in client.records.items()}
        records |= latest
        for client in clients:
            client.records = {}
    pid, address = nursery.start()
    check(address, records)
    nursery.kill(pid)
    return sum(client.num_writes for client in clients), records


def test_a_server_on_sqlite_keeps_what_it_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, began = f"sqlite:///{tmp_path}/ruichat.db", time.monotonic()
    with nursing(tmp_path, url) as (nursery, desk):
        kept = prove(nursery, desk, lambda _, pid: nursery.kill(pid))
    database = open_database(url)
    checked = check_database(database)
    database.close()
    assert checked.faults == ()
    report(capsys, f"SQLite: {NUM_KILLS} kills of the server", kept, began)


def test_a_server_on_postgresql_keeps_what_it_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := why_no_postgres():
        pytest.skip(reason)
    began, postgres = time.monotonic(), Postgres(durable=True)
    try:
        with nursing(tmp_path, postgres.create("served")) as (nursery, desk):

            def kill(number: int, pid: int) -> None:
                """Every second time the database dies, under a server that goes on."""
                if number % 2:
                    postgres.kill()
                    postgres.start()
                else:
                    nursery.kill(pid)

            kept = prove(nursery, desk, kill)
    finally:
        postgres.stop()
    half = NUM_KILLS // 2
    what = f"PostgreSQL: {NUM_KILLS - half} kills of the server, {half} of PostgreSQL under it"
    report(capsys, what, kept, began)


@contextlib.contextmanager
def nursing(folder: Path, url: str) -> Generator[tuple[Nursery, Desk]]:
    """Servers on a database, and a case in it with a slide that a scripted model answers about."""
    glass = folder / "glass"
    glass.mkdir()
    write_pyramid(glass / "a.tif", draw_tissue(900, 600, margin=40), mpp=0.5)
    with serve(says("Yes, ", "carcinoma.")) as model:
        environment = {
            "RUICHAT_SERVE_DATABASE_URL": url,
            "RUICHAT_SERVE_REQUESTS_PER_MINUTE": "1000000",
            "RUICHAT_SERVE_SLIDE_FOLDERS": str(glass),
            "RUICHAT_SERVE_MODEL": "openai:vision",
            "RUICHAT_SERVE_MODEL_BASE_URL": model.url,
        }
        nursery = Nursery(folder, environment)
        try:
            pid, address = nursery.start()
            desk = make_desk(url, address)
            nursery.kill(pid)
            yield nursery, desk
        finally:
            nursery.close()


def report(
    capsys: pytest.CaptureFixture[str], what: str, kept: tuple[int, Records], began: float
) -> None:
    num_writes, records = kept
    kinds = Counter(path.partition("/")[0] for path in records)
    answers = [body for body in records.values() if body.get("role") == "assistant"]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{what}; {num_writes} writes acknowledged, their {len(records)} records all kept "
            f"({dict(kinds)}, {len(answers)} answers among them); "
            f"{time.monotonic() - began:.0f} s\n"
        )
    assert answers and all(answer["state"] == "complete" for answer in answers)
