"""Many slides or files on the command line: a bar, a line for each that failed, a total."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ruichat.chat.plain import strip_controls
from ruichat.errors import ConfigError, InputError

if TYPE_CHECKING:
    from ruichat.cli.progress import WorkBar
    from ruichat.features.engines import EngineName
    from ruichat.features.jobs import Outcome, Settings


def is_single(paths: Sequence[Path], out: Path | None) -> bool:
    """Whether one slide is meant, whose bag goes to the cache and perhaps to a file."""
    from ruichat.slide.finding import find_slides

    if len(paths) != 1:
        return False
    if out is not None and (out.is_dir() or not out.suffix):
        return False
    return not paths[0].is_dir() or find_slides(paths).slides == (paths[0],)


def choose_engine(name: str) -> EngineName:
    """The engine of that name.

    Raises:
        ConfigError: there is none.
    """
    if name == "local":
        return "local"
    if name == "ray":
        return "ray"
    raise ConfigError(f"unknown engine {name!r}", hint="Engines are local and ray")


def extract_many(
    paths: Sequence[Path],
    settings: Settings,
    *,
    engine: EngineName,
    workers: int | None,
    ray_address: str | None,
    as_json: bool,
) -> None:
    """Extract every slide under some paths and say what became of each.

    Raises:
        InputError: there are no slides.
        typer.Exit: with code 4 where some failed.
    """
    from ruichat.cli.progress import WorkBar
    from ruichat.features.engines import run_jobs
    from ruichat.features.jobs import make_jobs
    from ruichat.slide.finding import find_slides

    found = find_slides(paths)
    if not found.slides:
        raise InputError(
            f"no slides among {found.num_other} files", hint="Give slide files, or their folder"
        )
    with WorkBar(len(found.slides)) as bar:
        outcomes = run_jobs(
            make_jobs(found.slides),
            settings,
            engine=engine,
            workers=workers,
            ray_address=ray_address,
            watch=bar.tiles,
            note=functools.partial(typer.echo, err=True),
        )
        report(_shown(outcomes, bar), settings.store, as_json=as_json, num_other=found.num_other)


def report(outcomes: Iterable[Outcome], store: Path, *, as_json: bool, num_other: int = 0) -> None:
    """Say what becomes of each, as it does, and of all.

    Raises:
        typer.Exit: with code 4 where some failed.
    """
    seen: list[Outcome] = []
    for outcome in outcomes:
        seen.append(outcome)
        if as_json:
            typer.echo(json.dumps(asdict(outcome), ensure_ascii=False))
    summary = _summary(seen, store, num_other)
    if as_json:
        typer.echo(json.dumps(summary, ensure_ascii=False))
    else:
        _print(seen, summary)
    if summary["failed"]:
        raise typer.Exit(InputError.exit_code)


def _shown(outcomes: Iterable[Outcome], bar: WorkBar) -> Iterator[Outcome]:
    for outcome in outcomes:
        bar.slide(outcome.slide, outcome.num_tiles)
        yield outcome


def _summary(outcomes: Sequence[Outcome], store: Path, num_other: int) -> dict[str, Any]:
    counts = Counter(outcome.status for outcome in outcomes)
    return {
        "store": str(store),
        "slides": len(outcomes),
        "done": counts["done"],
        "skipped": counts["skipped"],
        "failed": counts["failed"],
        "tiles": sum(outcome.num_tiles for outcome in outcomes),
        "other_files": num_other,
    }


def _print(outcomes: Sequence[Outcome], summary: dict[str, Any]) -> None:
    """Totals on stdout; warnings and failures, one line each, on stderr."""
    for outcome in outcomes:
        name = Path(outcome.slide).name
        for warning in outcome.warnings:
            typer.secho(strip_controls(f"warning: {name}: {warning}"), fg="yellow", err=True)
    for outcome in outcomes:
        if outcome.status == "failed":
            line = f"failed: {outcome.slide}: {outcome.message}. {outcome.hint}"
            typer.secho(strip_controls(line), fg="red", err=True)
    line = (
        f"{summary['done']} slides done, {summary['skipped']} were there, {summary['failed']} "
        f"failed; {summary['tiles']} tiles in {summary['store']}"
    )
    if summary["other_files"]:
        line += f"; {summary['other_files']} files are no slides"
    typer.echo(strip_controls(line))
