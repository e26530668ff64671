"""Seconds to an answer: a slide never seen, one in the cache, the next question, and the help.

Run: python benchmarks/first_answer.py [--slide PATH] [--json]

- Cold: `ruichat ask SLIDE QUESTION --json` in a fresh process with an empty cache folder. Beside
  it stand decoding the same tiles with OpenSlide alone, and encoding them from memory.
- Cached: the same command again. Beside it stands a process that only imports the runtimes.
- Next: in one process, a second question until its first words. Beside it stands reading the
  weights, once for each step that the words took, at the machine's bandwidth. Tile reads and
  encoder calls are counted by wrapping what does them.
- Help: `ruichat --help`, beside a bare interpreter and one that imports typer.

A slide of tissue that the model doesn't know is answered without its language model, which would
make the next question look quick; there the limit is lifted, so that the model always writes.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _common import (
    Machine,
    interleave,
    machine,
    median,
    new_table,
    publish,
    seconds,
    shared_slide,
    working,
)
from _next_question import Chat, measure_chat

SLIDE = "CMU-1-Small-Region.svs"
QUESTION = "Is there tumour on this slide, and where?"
HELP_REPEATS = 5
HELP = "ruichat --help"
PASS = "bare Python"
TYPER = "import typer"
RUNTIMES = "import torch, openvino"
BESIDE = {PASS: "pass", TYPER: TYPER, RUNTIMES: RUNTIMES}
"""Code that stands beside, each run by a Python of its own."""


@dataclass(frozen=True)
class Command:
    """One command line, run several times in fresh processes.

    Attributes:
        wall_s: of each run.
        cpu_s: of each run, user and system, all threads.
        stages_s: what the best run's answer says of itself; "outside" is the rest of its wall
            time: starting Python, importing, writing the overlay.
    """

    wall_s: list[float]
    cpu_s: list[float] = field(default_factory=list[float])
    stages_s: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Floor:
    """What a cold answer can't do without, each alone.

    Attributes:
        num_tiles: of the slide.
        decode_s: their pixels through OpenSlide, in one thread, best.
        encode_s: their embeddings from memory with a compiled encoder, best.
        compile_s: compiling the encoder, once.
    """

    num_tiles: int
    decode_s: float
    encode_s: float
    compile_s: float


@dataclass(frozen=True)
class Report:
    """Everything measured in one run."""

    machine: Machine
    slide_digest: str
    slide_size0: list[int]
    cold: Command
    cached: Command
    floor: Floor
    chat: Chat
    short: dict[str, Command]
    help_imports_torch: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--slide", type=Path, default=shared_slide(SLIDE))
    parser.add_argument("--repeats", type=int, default=3, help="of cold, cached and each question")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.slide.exists():
        parser.error(f"no slide at {options.slide}; give one with --slide")
    report = measure(options.slide.resolve(), options.repeats)
    publish(report, tabulate(report), as_json=options.json)


def measure(slide: Path, repeats: int) -> Report:
    """Everything; fresh processes first, while this one is small and idle."""
    from ruichat.slide.opening import open_slide

    here = machine()
    with working("asking for help"):
        short = measure_help()
        helps = help_imports_torch()
    with working("asking a slide in fresh processes"):
        cold, cached = measure_ask(slide, repeats)
    with working("decoding and encoding alone"):
        floor = measure_floor(slide, repeats)
    with working("asking second questions"):
        chat = measure_chat(slide, repeats)
    with open_slide(slide) as opened:
        digest, size0 = opened.digest, [opened.width0, opened.height0]
    return Report(here, digest, size0, cold, cached, floor, chat, short, helps)


# --- Fresh processes


def measure_ask(slide: Path, repeats: int) -> tuple[Command, Command]:
    """Cold and cached, in turn."""
    cold, cached = list[Run](), list[Run]()
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as scratch:
            for runs in (cold, cached):
                arguments = [program(), "ask", str(slide), QUESTION, "--json"]
                runs.append(run(arguments, Path(scratch)))
    return summarise(cold), summarise(cached)


def measure_help() -> dict[str, Command]:
    """The help and what stands beside it, in turn."""
    python = sys.executable
    commands = {
        HELP: [program(), "--help"],
        **{name: [python, "-c", code] for name, code in BESIDE.items()},
    }
    with tempfile.TemporaryDirectory() as scratch:
        jobs = {
            name: functools.partial(run, arguments, Path(scratch))
            for name, arguments in commands.items()
        }
        found = interleave(jobs, HELP_REPEATS)
    return {
        name: Command([r.wall_s for r in runs], [r.cpu_s for r in runs])
        for name, runs in found.items()
    }


def help_imports_torch() -> bool:
    """Whether torch is among the modules once the help is printed."""
    code = (
        "import sys; from ruichat.cli.main import run; run(['--help']); "
        "print('torch' in sys.modules)"
    )
    with tempfile.TemporaryDirectory() as scratch:
        output = run([sys.executable, "-c", code], Path(scratch)).output
    return output.splitlines()[-1] == "True"


@dataclass(frozen=True)
class Run:
    """One process."""

    wall_s: float
    cpu_s: float
    output: str


def program() -> str:
    """The command `ruichat` of this environment."""
    return str(Path(sysconfig.get_path("scripts")) / "ruichat")


def run(arguments: list[str], folder: Path) -> Run:
    """Run a command in a folder whose `cache` is the cache folder; a failure ends the benchmark."""
    environment = os.environ | {"RUICHAT_CACHE": str(folder / "cache")}
    before, began = child_cpu_s(), time.perf_counter()
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, encoding="utf-8"
    )
    wall_s = time.perf_counter() - began
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return Run(wall_s, child_cpu_s() - before, done.stdout)


def child_cpu_s() -> float:
    """CPU seconds of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def summarise(runs: list[Run]) -> Command:
    """Times of all runs, stages of the best."""
    best = min(runs, key=lambda run: run.wall_s)
    stages: dict[str, float] = json.loads(best.output)["seconds"]
    stages["outside"] = best.wall_s - stages["total"]
    return Command([run.wall_s for run in runs], [run.cpu_s for run in runs], stages)


# --- Decoding and encoding, each alone


def measure_floor(path: Path, repeats: int) -> Floor:
    """The slide's tiles as the product cuts them, decoded and encoded with nothing around it."""
    import numpy as np
    import openslide

    from ruichat.features.encoder import load_encoder
    from ruichat.features.extract import BATCH_TILES
    from ruichat.slide.geometry import choose_level, surrounding, to_level, to_level0_xy
    from ruichat.slide.grid import GridConfig, lay_grid
    from ruichat.slide.opening import find_slide_file, open_slide
    from ruichat.slide.openslide_reader import strips
    from ruichat.slide.tissue import TissueConfig, find_tissue
    from ruichat.units import Region0

    with open_slide(path) as slide:
        grid = lay_grid(slide, find_tissue(slide, TissueConfig()), GridConfig())
        tiles = slide.read_tiles(grid.xy0, span0=grid.span0, tile_px=grid.tile_px)
        level = choose_level(slide.level_downsamples, grid.span0 / grid.tile_px)
        downsample = slide.level_downsamples[level]
    span0 = grid.span0
    boxes = [to_level(Region0(int(x), int(y), span0, span0), downsample) for x, y in grid.xy0]
    rows: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for run in strips(boxes):
        box = surrounding(boxes[run.start : run.stop])
        rows.append((to_level0_xy(box.x, box.y, downsample), (box.width, box.height)))

    def decode() -> None:
        with openslide.OpenSlide(find_slide_file(path)) as handle:
            for location, size in rows:
                handle.read_region(location, level, size)

    encoder = load_encoder("mini")
    compile_s = seconds(lambda: encoder.encode(np.zeros((1, 64, 64, 3), np.uint8)))

    def encode() -> None:
        for first in range(0, len(tiles), BATCH_TILES):
            encoder.encode(tiles[first : first + BATCH_TILES])

    jobs = {"decode": lambda: seconds(decode), "encode": lambda: seconds(encode)}
    found = interleave(jobs, repeats)
    return Floor(len(tiles), min(found["decode"]), min(found["encode"]), compile_s)


# --- Printing


def tabulate(report: Report) -> Any:
    """One row per figure, with what stands beside it."""
    floor, turns = report.floor, report.chat.turns
    width0, height0 = report.slide_size0
    table = new_table(
        f"slide {report.slide_digest[:12]}, {width0} x {height0} px, {floor.num_tiles} tiles\n"
        f"{report.machine.summary}",
        *("seconds", "best", "median", "worst", "beside", "best", "ratio"),
    )

    def add(name: str, values: list[float], beside: str = "", reference_s: float = 0.0) -> None:
        cells = [f"{v:.3f}" for v in (min(values), median(values), max(values))]
        if len(values) == 1:
            cells = [cells[0], "", ""]
        ratio = (f"{reference_s:.3f}", f"{min(values) / reference_s:.1f}") if beside else ()
        table.add_row(name, *cells, beside, *ratio)

    def stages(command: Command) -> None:
        for stage, value in command.stages_s.items():
            if stage not in ("total", "first_word"):
                add(f"  {stage}", [value])
        table.add_section()

    short = {name: command.wall_s for name, command in report.short.items()}
    both_s = floor.decode_s + floor.encode_s
    add("ruichat ask, cold", report.cold.wall_s, "decode + encode", both_s)
    stages(report.cold)
    add("decode, OpenSlide alone", [floor.decode_s])
    add("encode, from memory", [floor.encode_s])
    add("compile the encoder", [floor.compile_s])
    table.add_section()
    add("ruichat ask, cached", report.cached.wall_s, RUNTIMES, min(short[RUNTIMES]))
    stages(report.cached)
    add("next question, all", [turn.first_words_s for turn in turns])
    for question in dict.fromkeys(turn.question for turn in turns):
        same = [turn for turn in turns if turn.question == question]
        beside = f"weights read {same[0].steps} x"
        add(f"  {question}", [t.first_words_s for t in same], beside, same[0].floor_s)
    table.add_section()
    add(HELP, short[HELP], PASS, min(short[PASS]))
    add("", short[HELP], TYPER, min(short[TYPER]))
    table.caption = caption(report)
    return table


def caption(report: Report) -> str:
    """What was counted rather than timed."""
    chat = report.chat
    tiles = sum(turn.tiles for turn in chat.turns)
    regions = sum(turn.regions for turn in chat.turns)
    calls = sum(turn.encoder_calls for turn in chat.turns)
    lines = [
        f"Opening read {chat.opening['tiles']} tiles in {chat.opening['encoder_calls']} encoder "
        f"calls; {len(chat.turns)} second questions read {tiles} tiles, decoded {regions} "
        f"regions and called the encoder {calls} times.",
        f"--help {'IMPORTS' if report.help_imports_torch else 'imports no'} torch.",
    ]
    if not chat.knows_slide:
        lines.append("The model doesn't know this tissue; its limit was lifted for the chat only.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
