"""Writers, and the database's own server, killed at random: what was acknowledged is kept."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import Postgres, why_no_postgres

from ruichat.errors import DatabaseUnavailableError
from ruichat.storage.database import cases, chats, findings, slides, users
from ruichat.storage.database.connect import Database, open_database
from ruichat.storage.database.findings import NewFinding
from ruichat.storage.database.models import Chat, Finding, Message

NUM_THREADS = 3
"""Each writes a chat and findings of its own, all into one case."""

LONGEST_LIFE_S = 1.0
"""Of a writer, from its first word."""

BOX = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@dataclass
class Acknowledged:
    """What writers were told is kept."""

    messages: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    """Chat, position and text by id."""
    findings: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Last revision and status by id."""

    def take(self, lines: bytes) -> None:
        """Add what a writer has said."""
        for line in lines.splitlines():
            told = json.loads(line)
            assert told["kind"] != "bug", told
            if told["kind"] == "message":
                self.messages[told["id"]] = (told["chat"], told["position"], told["text"])
            else:
                self.findings[told["id"]] = (told["revision"], told["status"])


@dataclass(frozen=True)
class Desk:
    """Where writers write."""

    url: str
    user: str
    slide: str
    chats: tuple[str, ...]


def make_desk(url: str) -> Desk:
    database = open_database(url)
    database.migrate()
    with database.session() as session:
        user = users.create_user(session, name="a", role="pathologist").id
        case = cases.create_case(session, user_id=user, title="S26-1").id
        slide = slides.add_slide(
            session, user_id=user, case_id=case, name="A1", root="r", path="p"
        ).id
        made = tuple(
            chats.create_chat(session, user_id=user, case_id=case, language="zh").id
            for _ in range(NUM_THREADS)
        )
    database.close()
    return Desk(url, user, slide, made)


def write_forever(desk: Desk, tell: Callable[[dict[str, Any]], None]) -> None:
    """A child's life: asks, answers, finds and decides until it's killed or the server is."""
    database = open_database(desk.url)

    def work(chat: str) -> None:
        try:
            for turn in range(1_000_000):
                write_turn(database, desk, chat, f"{turn} " + os.urandom(1500).hex(), tell)
        except DatabaseUnavailableError:
            pass
        except BaseException as error:
            tell({"kind": "bug", "what": repr(error)[:500]})

    threads = [threading.Thread(target=work, args=(chat,)) for chat in desk.chats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def write_turn(
    database: Database, desk: Desk, chat: str, text: str, tell: Callable[[dict[str, Any]], None]
) -> None:
    """A finding that is decided on, a question and its answer; each told once it is kept."""
    with database.session() as session:
        (finding,) = findings.add_findings(
            session, [NewFinding(BOX)], user_id=desk.user, slide_id=desk.slide, origin="person"
        )
    tell({"kind": "finding", "id": finding.id, "revision": 1, "status": "proposed"})
    with database.session() as session:
        decided = findings.decide_finding(
            session, finding.id, user_id=desk.user, revision=1, status="accepted"
        )
    told = {"revision": decided.revision, "status": decided.status}
    tell({"kind": "finding", "id": finding.id, **told})
    for add in (chats.add_question, chats.add_answer):
        with database.session() as session:
            message = add(session, chat, user_id=desk.user, text=text)
        place = {"chat": chat, "position": message.position, "text": text[:100]}
        tell({"kind": "message", "id": message.id, **place})


def live_once(desk: Desk, seconds: float, kill: Callable[[int], None]) -> bytes:
    """Fork a writer, kill so long after its first word; returns all that it said.

    Args:
        kill: given the writer's process id; it may kill what the writer writes to instead.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            # One write below the pipe's limit is whole or not there.
            write_forever(desk, lambda told: os.write(writing, json.dumps(told).encode() + b"\n"))
        os._exit(1)
    os.close(writing)
    said = os.read(reading, 65536)
    assert said, "the writer died by itself"
    timer = threading.Timer(seconds, kill, [child])
    timer.start()
    while part := os.read(reading, 65536):
        said += part
    os.close(reading)
    timer.join()
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return said


def kill_writer(child: int) -> None:
    os.kill(child, signal.SIGKILL)


def check(database: Database, told: Acknowledged) -> int:
    """Everything acknowledged is there and in order; returns how much more is."""
    with database.session() as session:
        messages = {each.id: each for each in session.scalars(sa.select(Message))}
        kept = {each.id: each for each in session.scalars(sa.select(Finding))}
        counts = {each.id: each.num_messages for each in session.scalars(sa.select(Chat))}
    for key, (chat, position, text) in told.messages.items():
        found = messages[key]
        assert (found.chat_id, found.position) == (chat, position)
        assert found.text[:100] == text and len(found.text) > 3000
    for key, (revision, status) in told.findings.items():
        found = kept[key]
        later = (found.revision, found.status) == (revision + 1, "accepted")
        assert later or (found.revision, found.status) == (revision, status)
    for chat, count in counts.items():
        places = sorted(each.position for each in messages.values() if each.chat_id == chat)
        assert places == list(range(count))
    if database.file is not None:
        with database.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    return len(messages) + len(kept) - len(told.messages) - len(told.findings)


KILLS = pytest.mark.parametrize(
    "num_kills", [3, pytest.param(200, marks=pytest.mark.proof)], ids=["some", "many"]
)


@KILLS
def test_sqlite_keeps_what_it_acknowledged(
    num_kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = make_desk(f"sqlite:///{tmp_path}/ruichat.db")
    told, rng, began, num_torn, more = Acknowledged(), random.Random(0), time.monotonic(), 0, 0
    for _ in range(num_kills):
        told.take(live_once(desk, rng.uniform(0, LONGEST_LIFE_S), kill_writer))
        num_torn += any(tmp_path.glob("ruichat.db-*"))
        database = open_database(desk.url)
        more = check(database, told)
        database.close()
    report(capsys, f"SQLite: {num_kills} kills, {num_torn} in a write", told, more, began)
    assert num_torn >= num_kills // 10, "kills missed the writes"


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL that flushes what it commits."""
    if reason := why_no_postgres():
        pytest.skip(reason)
    made = Postgres(durable=True)
    yield made
    made.stop()


@KILLS
def test_postgresql_keeps_what_it_acknowledged(
    num_kills: int, server: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = make_desk(server.create("kills"))
    told, rng, began, num_crashes, more = Acknowledged(), random.Random(0), time.monotonic(), 0, 0
    for number in range(num_kills):
        # Every fifth time it is the database's server that dies, with all its processes.
        crashes = number % 5 == 1
        seconds = rng.uniform(0, LONGEST_LIFE_S)
        told.take(live_once(desk, seconds, (lambda _: server.kill()) if crashes else kill_writer))
        if crashes:
            server.start()
            num_crashes += 1
        database = open_database(desk.url)
        more = check(database, told)
        database.close()
    what = f"PostgreSQL: {num_kills - num_crashes} kills of its client, {num_crashes} of itself"
    report(capsys, what, told, more, began)


def report(
    capsys: pytest.CaptureFixture[str], what: str, told: Acknowledged, more: int, began: float
) -> None:
    with capsys.disabled():
        sys.stdout.write(
            f"\n{what}; {len(told.messages)} messages and {len(told.findings)} findings "
            f"acknowledged, all kept; {more} kept without a word; "
            f"{time.monotonic() - began:.0f} s\n"
        )
    assert told.messages and told.findings
