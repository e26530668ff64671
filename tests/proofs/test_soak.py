"""Sixteen people at work for half an hour: nothing fails, and nothing grows."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from browsed import draw
from processes import Held, held
from served import PASSWORD
from staff import Desk, Log, Person

from ruichat.storage.database import cases, slides, users
from ruichat.storage.database.connect import open_database

MINUTES = float(os.environ.get("RUICHAT_SOAK_MINUTES", "30"))

NUM_PEOPLE = 16

PER_CASE = 4
"""People who share a case of two slides."""

SAMPLE_S = 5.0

WARM = (0.1, 1 / 6)
"""From where to where the run counts as begun: minutes 3 to 5 of 30."""

LAST = 1 - (WARM[1] - WARM[0])
"""From where its end counts."""

MAX_GROWTH = 0.05

REST_S = 20.0
"""Until what people did has ended: an answer that nobody looks at goes on for five seconds."""

SPARE = 4
"""Descriptors, threads and processes that may be there by chance when people rest."""

SETTINGS = {
    "SINGLE_USER": "false",
    "MEMORY_MB": "100",  # so that it is full before the run counts as begun
}

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux"),
]


@contextmanager
def serving(folder: Path) -> Generator[tuple[str, int]]:
    """The command in a process of its own: its address and id."""
    given = {"DATA_DIR": str(folder / "data"), "SLIDE_FOLDERS": str(folder / "glass"), "PORT": "0"}
    environment = {f"RUICHAT_SERVE_{name}": value for name, value in (given | SETTINGS).items()}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ruichat", "serve"],
            env=os.environ | environment | {"PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=log,
        )
    try:
        while not (found := re.search(r"http://\S+", (folder / "log").read_text())):
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield found.group(), process.pid
        assert process.poll() is None, "the server ended by itself"
    finally:
        process.terminate()
        process.wait(60)


def furnish(address: str, folder: Path) -> list[Desk]:
    """People in fours, each four with a case of two slides."""
    glass = (folder / "sent.tif").read_bytes()
    database = open_database(f"sqlite:///{folder}/data/ruichat.db")
    desks: list[Desk] = []
    with database.session() as session:
        names = [f"person {number}" for number in range(NUM_PEOPLE)]
        for together in (names[i : i + PER_CASE] for i in range(0, NUM_PEOPLE, PER_CASE)):
            owner, *others = (
                users.create_user(session, name=name, role="pathologist", password=PASSWORD).id
                for name in together
            )
            case = cases.create_case(session, user_id=owner, title="S26-1").id
            for other in others:
                cases.add_member(session, case, user_id=owner, member_id=other)
            ids = [
                slides.add_slide(
                    session, user_id=owner, case_id=case, name=file, root="glass", path=file
                ).id
                for file in ("one.tif", "two.tif")
            ]
            desks += [Desk(address, name, PASSWORD, case, ids, glass) for name in together]
    database.close()
    return desks


def test_nothing_fails_and_nothing_grows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "glass").mkdir()
    draw(tmp_path / "glass" / "one.tif", 4096, 3072, 7)
    draw(tmp_path / "glass" / "two.tif", 2048, 1536, 8)
    draw(tmp_path / "sent.tif", 1024, 768, 9)

    def tell(words: str) -> None:
        with capsys.disabled():
            print(words, flush=True)

    with serving(tmp_path) as (address, pid):
        log, resting, ending = Log(), threading.Event(), threading.Event()
        people = [
            Person(desk, log, resting=resting, ending=ending, seed=number)
            for number, desk in enumerate(furnish(address, tmp_path))
        ]
        for person in people:
            person.start()
        began = time.monotonic()
        samples = list(sampled(pid, began, WARM[1] * MINUTES * 60, log, tell))
        before = at_rest(pid, people, resting)
        samples += sampled(pid, began, MINUTES * 60, log, tell)
        after = at_rest(pid, people, resting)
        metrics = httpx.get(f"{address}/metrics").text
        ending.set()
        for person in people:
            person.join(60)
    errors = re.findall(r'ruichat_requests_total{.*status="5\d\d"} .*', metrics)
    begun, ended = memory_between(samples, *WARM), memory_between(samples, LAST, 1)
    tell(
        f"{MINUTES:g} minutes, {NUM_PEOPLE} people: {sum(log.statuses.values())} answers, "
        f"statuses {dict(log.statuses)}; done {dict(log.done)}\n"
        f"memory {begun:.0f} -> {ended:.0f} MB ({ended / begun - 1:+.1%})\n"
        f"at rest {before} -> {after}\nwrong: {len(log.wrong)} {log.wrong[:20]} {errors}"
    )
    assert errors == [] and log.wrong == []
    assert ended <= begun * (1 + MAX_GROWTH)
    assert after.files <= before.files + SPARE
    assert after.threads <= before.threads + SPARE
    assert after.children <= before.children + SPARE


def sampled(
    pid: int, began: float, until: float, log: Log, tell: Callable[[str], None]
) -> Iterator[tuple[float, Held]]:
    """What the server holds, every few seconds: share of the run, and what."""
    told = time.monotonic()
    while (at := time.monotonic() - began) < until:
        now = held(pid)
        yield at / (MINUTES * 60), now
        if time.monotonic() - told > 30:
            told = time.monotonic()
            num = sum(log.statuses.values())
            tell(f"{at / 60:5.1f} min  {num} answers  {len(log.wrong)} wrong  {now}")
        time.sleep(SAMPLE_S)


def at_rest(pid: int, people: list[Person], resting: threading.Event) -> Held:
    """What the server holds while nobody does anything; then they go on."""
    resting.set()
    while not all(person.is_resting for person in people):
        time.sleep(0.2)
    time.sleep(REST_S)
    now = held(pid)
    resting.clear()
    return now


def memory_between(samples: list[tuple[float, Held]], start: float, end: float) -> float:
    """Memory of all processes in a part of the run, the middle of its samples, MB."""
    return statistics.median(held.all_mb for at, held in samples if start <= at <= end)
