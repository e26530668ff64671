"""The server killed at random while chats, regions and findings are written through its API."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from databases import Postgres, why_no_postgres
from nursery import Nursery

from ruichat.storage.database import slides
from ruichat.storage.database.connect import open_database
from ruichat.storage.database.copying import check_database

NUM_KILLS = 200

NUM_CLIENTS = 3
"""Each writes chats, regions and findings of its own, all into one case."""

LONGEST_LIFE_S = 1.0
"""Of a server, from the first answer that it gives."""

FIRST_TITLE = "有肿瘤吗？"

BOX = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


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

    address: str
    desk: Desk
    began: threading.Event
    """Set with the first answer."""
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By path, what a GET has to give."""
    num_writes: int = 0
    failure: BaseException | None = None

    def live(self) -> None:
        """Write until the server is gone."""
        try:
            with httpx.Client(base_url=f"{self.address}/api/v1/", timeout=60) as http:
                while True:
                    self._turn(http, os.urandom(500).hex())
        except (httpx.TransportError, GoneError):
            pass
        except BaseException as error:
            self.failure = error
        self.began.set()

    def _turn(self, http: httpx.Client, words: str) -> None:
        """A finding is drawn and decided on, a chat is begun and renamed, a region drawn."""
        of_slide, place = f"slides/{self.desk.slide}", f"cases/{self.desk.case}/chats"
        finding = self._write(http, "findings", f"{of_slide}/findings", geometry=BOX, note=words)
        for verb in ("accept", "undo", "reject"):
            where = f"findings/{finding['id']}/{verb}"
            finding = self._write(http, "findings", where, revision=finding["revision"])
        chat = self._write(http, "chats", place, language="zh", title=FIRST_TITLE)
        self._write(http, "chats", f"chats/{chat['id']}", "PATCH", title=words[:100])
        corners, name = [[0, 0], [100, 100]], words[:100]
        shape = {"shape": "rectangle", "points": corners, "name": name}
        self._write(http, "regions", f"{of_slide}/regions", **shape)

    def _write(
        self, http: httpx.Client, kind: str, place: str, method: str = "POST", **body: Any
    ) -> dict[str, Any]:
        answer = http.request(method, place, json=body)
        if answer.status_code == 503:
            raise GoneError
        assert answer.status_code in (200, 201), answer.text
        kept = answer.json()
        self.records[f"{kind}/{kept['id']}"] = kept
        self.num_writes += 1
        self.began.set()
        return kept


def make_desk(url: str, address: str) -> Desk:
    """A case through the API, and a slide of it that has no file: nobody looks at it."""
    case = httpx.post(f"{address}/api/v1/cases", json={"title": "S26-1"}, timeout=60).json()
    database = open_database(url)
    with database.session() as session:
        slide = slides.add_slide(
            session,
            user_id=case["owner_id"],
            case_id=case["id"],
            name="A1",
            root="glass",
            path="a.svs",
        ).id
    database.close()
    return Desk(case["id"], slide)


Records = dict[str, dict[str, Any]]


def live_once(
    nursery: Nursery, desk: Desk, before: Records, seconds: float, kill: Callable[[int], None]
) -> list[Client]:
    """Start a server, look for what was there, write, kill so long after the first answer.

    Args:
        before: what the server before it has acknowledged.
        kill: given the server's process id; it may kill the database instead.
    """
    pid, address = nursery.start()
    check(address, before)
    began = threading.Event()
    clients = [Client(address, desk, began) for _ in range(NUM_CLIENTS)]
    threads = [threading.Thread(target=client.live) for client in clients]
    for thread in threads:
        thread.start()
    began.wait()
    time.sleep(seconds)
    kill(pid)
    for thread in threads:
        thread.join()
    for client in clients:
        if client.failure is not None:
            raise client.failure
    nursery.kill(pid)
    return clients


def check(address: str, records: Records) -> None:
    """What was acknowledged is what a server gives now."""
    with httpx.Client(base_url=f"{address}/api/v1/", timeout=60) as http:
        for path, body in records.items():
            answer = http.get(path)
            assert answer.status_code == 200, path
            now = answer.json()
            if now != body:
                # One later change was kept too, whose answer was lost with the server.
                if path.startswith("findings"):
                    assert now["revision"] == body["revision"] + 1, path
                else:
                    assert path.startswith("chats") and body["title"] == FIRST_TITLE, path


def prove(nursery: Nursery, desk: Desk, kill: Callable[[int, int], None]) -> tuple[int, int]:
    """Kill so many times; returns how many records were kept, and how many writes made them.

    Args:
        kill: given the number of the life and the server's process id.
    """
    rng, num_writes = random.Random(0), 0
    latest: Records = {}
    records: Records = {}
    for number in range(NUM_KILLS):
        seconds = rng.uniform(0, LONGEST_LIFE_S)
        clients = live_once(nursery, desk, latest, seconds, lambda pid, n=number: kill(n, pid))
        latest = {path: body for client in clients for path, body in client.records.items()}
        num_writes += sum(client.num_writes for client in clients)
        records |= latest
    pid, address = nursery.start()
    check(address, records)
    nursery.kill(pid)
    return len(records), num_writes


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
def nursing(data: Path, url: str) -> Iterator[tuple[Nursery, Desk]]:
    """Servers on a database, and a case in it."""
    environment = {
        "RUICHAT_SERVE_DATABASE_URL": url,
        "RUICHAT_SERVE_REQUESTS_PER_MINUTE": "1000000",
    }
    nursery = Nursery(data, environment)
    try:
        pid, address = nursery.start()
        desk = make_desk(url, address)
        nursery.kill(pid)
        yield nursery, desk
    finally:
        nursery.close()


def report(
    capsys: pytest.CaptureFixture[str], what: str, kept: tuple[int, int], began: float
) -> None:
    with capsys.disabled():
        sys.stdout.write(
            f"\n{what}; {kept[1]} writes acknowledged, their {kept[0]} records all kept; "
            f"{time.monotonic() - began:.0f} s\n"
        )
    assert kept[0] > 0
