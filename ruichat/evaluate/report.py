"""One table for people and one JSON for machines, from the same rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruichat.evaluate.metrics import Estimate
from ruichat.storage.artifacts import write_atomic

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SCHEMA = "ruichat.evaluation/1"

CONTROLS: Mapping[str, str] = {
    "colour": "a linear model on colour statistics of the tiles; slide questions by rule from it",
    "untrained": "the same probe on an untrained network",
    "rules": "the shipped tile classifier, questions answered by rule from it",
    "blind": "the names of the regions, nothing behind them, no facts",
    "other": "another slide's regions and facts",
    "permuted": "contents of the regions dealt out anew",
    "reordered": "listed options at other letters",
    "chance": "regions cited at random, as many",
    "permuted_chance": "the same, as many as are cited of permuted contents",
}
"""What stands beside a score, and how it is made."""

_HEADS = {
    "untrained": "random",
    "permuted": "perm.",
    "reordered": "order",
    "permuted_chance": "p.ch.",
}
"""Short heads, so that the table fits a terminal."""


@dataclass(frozen=True)
class Row:
    """One score with its controls.

    Attributes:
        section: heading it stands under.
        name: what is scored.
        score: the score.
        controls: by name, see `CONTROLS`.
        aim: what the project aims at, None where it aims at nothing.
        at_most: the aim is an upper bound.
        detail: left out of the table, kept in the JSON.
        where: part of the data that it is over, or what it is a difference of; else "".
        p: of a difference, None of any other score.
    """

    section: str
    name: str
    score: Estimate
    controls: Mapping[str, Estimate] = field(default_factory=dict[str, Estimate])
    aim: float | None = None
    at_most: bool = False
    detail: bool = False
    where: str = ""
    p: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        own = {"where": self.where} if self.where else {}
        p = {} if self.p is None else {"p": None if math.isnan(self.p) else round(self.p, 4)}
        return {
            "section": self.section,
            "name": self.name,
            **own,
            **self.score.to_json(),
            **p,
            "aim": self.aim,
            "controls": {name: e.to_json() for name, e in self.controls.items()},
        }


@dataclass(frozen=True)
class Report:
    """All scores of one run.

    Attributes:
        rows: the scores.
        manifest: what was run on what: config, digests, versions, decoding, seeds.
        skipped: what wasn't scored, and why.
        seconds: wall-clock seconds by part.
        controls: what stands beside a score, and how it is made, in the order of the columns.
        units: what the bootstrap draws.
        notes: what a reader must know beside what is missing.
    """

    rows: tuple[Row, ...]
    manifest: Mapping[str, Any]
    skipped: tuple[str, ...]
    seconds: Mapping[str, float]
    controls: Mapping[str, str] = field(default_factory=lambda: CONTROLS)
    units: str = "slides or source groups"
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The whole report as plain values."""
        return {
            "schema": SCHEMA,
            **self.manifest,
            "controls": dict(self.controls),
            "intervals": f"95 %, percentile bootstrap over {self.units}",
            "skipped": list(self.skipped),
            **({"notes": list(self.notes)} if self.notes else {}),
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "rows": [row.to_json() for row in self.rows],
        }

    def save(self, path: Path) -> None:
        """Write the JSON, atomically.

        Raises:
            ArtifactError: the file can't be written.
        """
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=1)
        write_atomic(path, (text + "\n").encode())


def build_table(report: Report) -> Table:
    """The table, a section at a time."""
    from rich import box
    from rich.table import Table

    controls = used_controls(report)
    name = report.manifest.get("model", {}).get("name", "")
    table = Table(title=name, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold", min_width=24)
    for head in ("n", "score", "95 %", "aim", *(_HEADS.get(name, name) for name in controls)):
        table.add_column(head, justify="right", no_wrap=True)
    section = None
    for row in report.rows:
        if row.detail:
            continue
        if row.section != section:
            if section is not None:
                table.add_section()
            table.add_row(f"[bold]{row.section}[/bold]")
            section = row.section
        table.add_row(*_cells(row, controls))
    return table


def used_controls(report: Report) -> list[str]:
    """Names of the controls that the table has columns for."""
    used = {name for row in report.rows if not row.detail for name in row.controls}
    return [name for name in report.controls if name in used]


def _cells(row: Row, controls: Iterable[str]) -> list[str]:
    score = row.score
    interval = "" if math.isnan(score.low) else f"{score.low:.2f}-{score.high:.2f}"
    aim = "" if row.aim is None else ("≤" if row.at_most else "≥") + f"{row.aim:.2f}"
    beside = [row.controls.get(name) for name in controls]
    return [
        f"{row.name}, {row.where}" if row.where else row.name,
        str(score.n),
        _number(score.value),
        interval,
        aim,
        *("" if item is None else _number(item.value) for item in beside),
    ]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def print_report(report: Report, console: Console) -> None:
    """The table, what its columns mean, and what is missing."""
    console.print(build_table(report))
    for name in used_controls(report):
        head = _HEADS.get(name, name)
        console.print(f"{head}: {report.controls[name]}", style="dim", highlight=False)
    for line in report.notes:
        console.print(f"note: {line}", style="yellow", highlight=False, markup=False)
    for line in report.skipped:
        console.print(f"skipped: {line}", style="yellow", highlight=False, markup=False)
