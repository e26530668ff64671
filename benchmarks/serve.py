"""Tiles and chats over HTTP from `ruichat serve`, beside what they cost without our server.

Run: python benchmarks/serve.py [--json] [--clients 16] [--side 20480] [--only tiles|chats]

The server runs in its own process on a pyramid with levels at 1 and 4; clients are keep-alive
connections of one thread on the same machine, each asking for the next tile when it has one.
"Stored" tiles are the file's own, "made" ones lie on a level between: decoded, resampled, encoded.
"Again" are the same ones once more, from the server's memory; "304" those that a browser kept.
"Looking" is what people do: fields of view that move, at all levels, stored and made, mostly new.
HTTP alone is the same server library (uvicorn, Starlette) with one answer in memory.

Chats are people with a token each, who ask `mini` about drawn slides in Chinese and English, read
the stream and ask again at once. Beside them: the same questions one by one in a process that has
the model and no server; and the time that reading the model's weights takes, once.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _common import Machine, machine, new_table, publish, working
from _http_load import Load, host_and_port, load
from _serve_chat import ChatReport, measure_chats, tabulate_chats
from _served import add_slide, ruichat_server
from tiles import write_pyramid

if TYPE_CHECKING:
    from rich.console import RenderableType

NUM_TILES = 3200
"""Asked for in one stretch, by all clients together."""

PEER_S = 10.0
"""Longest stretch of another server."""

VIEW = 5
"""Tiles a side of a field of view: a screen of 1,280 px."""

Paths = list[list[str]]


@dataclass(frozen=True)
class Row:
    """One stretch of requests.

    Attributes:
        name: what was asked for.
        tiles_per_s: of all clients together.
        p50_ms: half of the answers came within so long.
        p99_ms: all but one in a hundred.
        max_ms: the slowest.
        kb_per_tile: of the answers' bodies.
    """

    name: str
    tiles_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    kb_per_tile: float


@dataclass(frozen=True)
class Report:
    """Everything measured in one run."""

    machine: Machine
    side0: int
    num_clients: int
    rows: list[Row]
    chats: ChatReport | None


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--side", type=int, default=20_480, help="of the pyramid, pixels")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each stretch of chats")
    parser.add_argument("--only", choices=["tiles", "chats"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    here = machine()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "glass"
        folder.mkdir()
        with working("writing the pyramid"):
            write_pyramid(folder / "pyramid.tif", options.side)
        rows: list[Row] = []
        chats = None
        if options.only != "chats":
            with working("asking for tiles"):
                rows = measure(folder / "pyramid.tif", options.side, options.clients)
        if options.only != "tiles":
            shown = all_looking("", options.side, options.clients)
            with working("chatting"):
                chats, tiles = measure_chats(folder / "pyramid.tif", shown, options.seconds)
            rows += [row_of(f"RuiChat, looking, {name}", found) for name, found in tiles.items()]
    report = Report(here, options.side, options.clients, rows, chats)
    publish(report, tabulate(report), as_json=options.json)


def measure(path: Path, side0: int, num_clients: int) -> list[Row]:
    """Each kind of tiles from each server."""
    rows: list[Row] = []
    data = path.parent.parent / "data"
    with ruichat_server(path.parent, data) as address:
        _, slide_id = add_slide(data, path.parent, path)
        prefix = f"/slides/{slide_id}"
        place = host_and_port(address)
        load(place, [[f"{prefix}/info"]] + [[f"{prefix}/tiles/0/0_0.jpg"]] * num_clients)
        for name, paths, headers in stretches(prefix, side0, num_clients):
            rows.append(row_of(f"RuiChat, {name}", load(place, paths, headers=headers)))
    for kind, name in (("memory", "HTTP alone"), ("openslide", "OpenSlide Deep Zoom")):
        with peer(kind, path) as place:
            for stretch, paths, _ in stretches("", side0, num_clients):
                if stretch == "looking" or (kind == "openslide" and stretch in ("stored", "made")):
                    found = load(place, paths, limit_s=PEER_S)
                    rows.append(row_of(f"{name}, {stretch}", found))
    return rows


def stretches(prefix: str, side0: int, num_clients: int) -> list[tuple[str, Paths, str]]:
    """What is asked for, in this order: name, paths of each client, headers more."""
    last = (side0 - 1).bit_length()
    finest, between = side0 // 256, side0 // 512
    rng = random.Random(0)
    stored = [(last, c, r) for c in range(finest) for r in range(finest // 2)]
    made = [(last - 1, c, r) for c in range(between) for r in range(between)]
    rng.shuffle(stored)
    rng.shuffle(made)

    def dealt(tiles: list[tuple[int, int, int]]) -> Paths:
        chosen = [address_of(prefix, *tile) for tile in tiles[:NUM_TILES]]
        return [chosen[i::num_clients] for i in range(num_clients)]

    return [
        ("looking", all_looking(prefix, side0, num_clients), ""),
        ("stored", dealt(stored), ""),
        ("stored, again", dealt(stored), ""),
        ("made", dealt(made), ""),
        ("304", dealt(stored), "If-None-Match: *\r\n"),
    ]


def all_looking(prefix: str, side0: int, num_clients: int) -> Paths:
    """What each client asks for, of those who look about."""
    last = (side0 - 1).bit_length()
    return [
        [
            address_of(prefix, *tile)
            for tile in looking(random.Random(client), last, side0, NUM_TILES // num_clients)
        ]
        for client in range(num_clients)
    ]


def looking(rng: random.Random, last: int, side0: int, num: int) -> list[tuple[int, int, int]]:
    """Tiles that a viewer loads while somebody zooms in, moves about, and zooms out again."""
    found: list[tuple[int, int, int]] = []
    while len(found) < num:
        x, y = rng.random(), rng.random()
        for level in range(last - 4, last + 1):
            side = -(-(side0 >> (last - level)) // 256)
            steps = 1 if level < last - 1 else 3
            for step in range(steps):
                left = min(max(0, side - VIEW), int(x * side) + step)
                top = min(max(0, side - VIEW), int(y * side))
                view = [
                    (level, column, row)
                    for row in range(top, min(side, top + VIEW))
                    for column in range(left, min(side, left + VIEW))
                ]
                found += [tile for tile in view if tile not in found[-3 * VIEW * VIEW :]]
    return found[:num]


def address_of(prefix: str, level: int, column: int, row: int) -> str:
    """Where a tile is asked for."""
    return f"{prefix}/tiles/{level}/{column}_{row}.jpg"


@contextmanager
def peer(kind: str, path: Path) -> Generator[tuple[str, int]]:
    """Another server in its own process: host and port."""
    port_file = path.parent.parent / f"{kind}.port"
    script = Path(__file__).with_name("_serve_peers.py")
    process = subprocess.Popen([sys.executable, str(script), kind, str(path), str(port_file)])
    try:
        while not (port_file.exists() and port_file.read_text()):
            time.sleep(0.1)
        place = "127.0.0.1", int(port_file.read_text())
        load(place, [["/tiles/0/0_0.jpg"]] * 4)
        yield place
    finally:
        process.terminate()
        process.wait(30)


def row_of(name: str, found: Load) -> Row:
    """The figures of a stretch; an answer that is no tile ends the run."""
    if set(found.statuses) - {200, 304}:
        raise RuntimeError(f"{name}: answers of status {found.statuses}")
    p50, p99 = np.percentile(found.latencies_s, [50, 99]) * 1000
    num = len(found.latencies_s)
    return Row(
        name,
        num / found.seconds,
        float(p50),
        float(p99),
        max(found.latencies_s) * 1000,
        found.num_bytes / num / 1000,
    )


def tabulate(report: Report) -> RenderableType:
    """For people."""
    from rich.console import Group

    table = new_table(
        f"Tiles of 256 px over HTTP, {report.num_clients} clients on the same machine",
        *("", "tiles/s", "p50 ms", "p99 ms", "max ms", "kB"),
    )
    for row in report.rows:
        table.add_row(
            row.name,
            f"{row.tiles_per_s:,.0f}",
            f"{row.p50_ms:.1f}",
            f"{row.p99_ms:.1f}",
            f"{row.max_ms:.1f}",
            f"{row.kb_per_tile:.1f}",
        )
    table.caption = report.machine.summary
    return table if report.chats is None else Group(table, tabulate_chats(report.chats))


if __name__ == "__main__":
    main()
