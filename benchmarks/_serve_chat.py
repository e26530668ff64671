"""Chats with `mini` through the server, tiles meanwhile, and the same answers without a server."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _chat_load import Person, Place, Talk, leave, talking
from _common import ROOT, new_table, num_cpus, read_bandwidth, weight_bytes
from _http_load import Load, host_and_port, load
from _next_question import DIALOGUES
from _served import add_ward, ruichat_server

if TYPE_CHECKING:
    from rich.table import Table

NUM_SLIDES = 3
"""Drawn ones: on most small real ones `mini` isn't sure enough to be asked at all."""

NUM_PEOPLE = 8

NUM_LEFT = 20
"""Questions whose asker leaves."""

NUM_COPIES = 3

SETTLE_S = 1.0
"""From the beginning of chats until tiles are asked for beside them."""

SETTINGS = {
    "single_user": "false",
    "max_waiting_per_user": "1",  # so that a question left shows when it no longer counts
    "requests_per_minute": "1000000",
}

Paths = Sequence[Sequence[str]]


@dataclass(frozen=True)
class ChatRow:
    """A stretch of chats.

    Attributes:
        name: how many chat, and how.
        num_answers: in all.
        first_p50_ms: half of the questions had their first words within so long.
        first_p95_ms: all but one in twenty.
        gap_p50_ms: from one piece of an answer to the next, half of them.
        gap_p95_ms: all but one in twenty.
        tokens_per_s: text tokens written, all chats together.
    """

    name: str
    num_answers: int
    first_p50_ms: float
    first_p95_ms: float
    gap_p50_ms: float
    gap_p95_ms: float
    tokens_per_s: float


@dataclass(frozen=True)
class ChatReport:
    """What chats took, and what they cost others.

    Attributes:
        rows: of chats.
        read_ms: of the weights, once, at the measured bandwidth: what one step can't go below.
        freed_ms: from leaving an answer until its person may ask again, while others chat; half
            of the times.
        freed_max_ms: the longest.
        rest_ms: what such an answer takes from there to its end, half of them.
    """

    rows: list[ChatRow]
    read_ms: float
    freed_ms: float
    freed_max_ms: float
    rest_ms: float


def measure_chats(
    pyramid: Path, views: Paths, seconds: float
) -> tuple[ChatReport, dict[str, Load]]:
    """Chats of 1, 4 and 8 people; tiles alone and beside them; questions that are left.

    Args:
        pyramid: the slide that tiles are asked of.
        views: paths below a slide's address that each tile client asks for.
        seconds: of each stretch of chats.

    Returns:
        Of chats, and of tiles by what went on meanwhile.
    """
    folder, data = pyramid.parent, pyramid.parent.parent / "chat-data"
    chatted = [drawn(folder / f"drawn-{seed}.tif", seed) for seed in range(NUM_SLIDES)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
        lone, read_ms = other.submit(alone, chatted, seconds).result()
    with ruichat_server(folder, data, **SETTINGS) as address:
        place = host_and_port(address)
        ward = add_ward(data, [*chatted, *copies(pyramid)], NUM_PEOPLE)
        people = [
            Person(token, ward.slide_ids[number % NUM_SLIDES])
            for number, token in enumerate(ward.tokens)
        ]
        with talking(place, people) as stop:  # slides are read, and all has run once
            stop()
        rows = [chat_row("1 without a server", lone)]
        for num in (1, 4, NUM_PEOPLE):
            with talking(place, people[:num]) as stop:
                time.sleep(seconds)
                rows.append(chat_row(f"{num} through the server", stop()))
        slides = [f"/slides/{slide_id}" for slide_id in ward.slide_ids[NUM_SLIDES:]]
        looks = [partial(look, place, ward.tokens[0], slide, views) for slide in slides]
        tiles = {"nobody chats": looks[0]()}
        with talking(place, people) as stop:
            time.sleep(SETTLE_S)
            tiles[f"{NUM_PEOPLE} chat"] = looks[1]()
            rows.append(chat_row(f"{NUM_PEOPLE}, tiles meanwhile", stop()))
        tiles["nobody chats again"] = looks[2]()
        with talking(place, people[1:]) as stop:
            time.sleep(SETTLE_S)
            freed, rests = leave(place, people[0], NUM_LEFT)
            stop()
    middle = [float(np.median(times)) * 1000 for times in (freed, rests)]
    return ChatReport(rows, read_ms, middle[0], max(freed) * 1000, middle[1]), tiles


def drawn(path: Path, seed: int) -> Path:
    """A slide of known tissue, 2,048 x 1,536 px."""
    command = [sys.executable, "-m", "ruichat", "phantom", "draw", str(path), "--seed", str(seed)]
    command += ["--width", "2048", "--height", "1536"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return path


def copies(pyramid: Path) -> list[Path]:
    """The same file under other names: another slide, of which the server has no tile yet."""
    names = [pyramid.with_stem(f"{pyramid.stem}-{number}") for number in range(NUM_COPIES)]
    for name in names:
        name.hardlink_to(pyramid)
    return names


def look(place: Place, token: str, slide: str, views: Paths) -> Load:
    """Tiles of a slide that was just opened."""
    headers = f"Authorization: Bearer {token}\r\n"
    load(place, [[f"{slide}/info"]], headers=headers)
    load(place, [[f"{slide}/tiles/0/0_0.jpg"]] * len(views), headers=headers)
    paths = [[slide + path for path in each] for each in views]
    return load(place, paths, headers=headers)


def alone(paths: Sequence[Path], seconds: float) -> tuple[Talk, float]:
    """The same questions one after the other in this process, and milliseconds of a step's floor.

    As the server has it: one core is left to others.
    """
    from ruichat.chat.ask import load_backend, open_chat

    num_threads = max(1, num_cpus() - 1)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    backend = load_backend("mini", num_threads=num_threads)
    num_bytes = weight_bytes(backend.model)
    read_ms = num_bytes / read_bandwidth(num_threads, num_bytes) * 1000
    found = Talk()
    with tempfile.TemporaryDirectory() as cache:
        chats = [open_chat(path, backend=backend, cache=Path(cache)) for path in paths]
        began = time.perf_counter()
        while found.seconds < seconds:
            for number, questions in enumerate(DIALOGUES):
                chat = chats[number % len(chats)]
                chat.forget()
                for question in questions:
                    last, asked = 0.0, time.perf_counter()
                    for piece in chat.ask(question):
                        now = time.perf_counter()
                        if isinstance(piece, str):
                            (found.gaps_s if last else found.first_s).append(now - (last or asked))
                            last = now
                    found.num_answers += 1
                    found.num_tokens += chat.usage.written if chat.usage else 0
            found.seconds = time.perf_counter() - began
        for chat in chats:
            chat.close()
    return found, read_ms


def chat_row(name: str, found: Talk) -> ChatRow:
    """The figures of a stretch."""
    first_p50, first_p95 = (float(each) for each in np.percentile(found.first_s, [50, 95]) * 1000)
    gap_p50, gap_p95 = (float(each) for each in np.percentile(found.gaps_s, [50, 95]) * 1000)
    tokens_per_s = found.num_tokens / found.seconds
    return ChatRow(name, found.num_answers, first_p50, first_p95, gap_p50, gap_p95, tokens_per_s)


def tabulate_chats(report: ChatReport) -> Table:
    """For people."""
    table = new_table(
        "Chats with mini: milliseconds to the first words, and from one piece to the next",
        *("", "answers", "first p50", "p95", "next p50", "p95", "tok/s"),
    )
    for row in report.rows:
        times = (row.first_p50_ms, row.first_p95_ms, row.gap_p50_ms, row.gap_p95_ms)
        table.add_row(
            row.name,
            str(row.num_answers),
            *(f"{value:.1f}" for value in times),
            f"{row.tokens_per_s:.0f}",
        )
    table.caption = (
        f"Reading the weights once: {report.read_ms:.2f} ms. Of {NUM_LEFT} answers that were left "
        f"while {NUM_PEOPLE - 1} others chatted, half were gone within {report.freed_ms:.0f} ms, "
        f"all within {report.freed_max_ms:.0f} ms; left alone, such an answer goes on for "
        f"{report.rest_ms:.0f} ms"
    )
    return table
