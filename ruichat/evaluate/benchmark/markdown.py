"""A benchmark's report as Markdown, in English and in Chinese."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ruichat.evaluate.benchmark.words import HEADS, Note, word
from ruichat.evaluate.metrics import Estimate
from ruichat.evaluate.report import Report, Row, used_controls
from ruichat.histology import Language


def to_markdown(report: Report, notes: Sequence[Note], language: Language) -> str:
    """The table, what its columns mean, notes, and how the run was made."""
    heads, manifest = HEADS[language], report.manifest
    lines = [f"# {heads['title'].format(model=plain(manifest['model']['name']))}", ""]
    if manifest.get("blind"):
        lines += [heads["blind"], ""]
    for section in dict.fromkeys(row.section for row in report.rows):
        rows = [row for row in report.rows if row.section == section and not row.detail]
        if rows:
            lines += [f"## {word(section, language)}", "", *_table(rows, report, language), ""]
    lines += [heads["interval_of"].format(units=word(report.units, language)), ""]
    used = used_controls(report)
    if used:
        lines += [f"## {heads['controls']}", ""]
        lines += [f"- {word(n, language)}: {word(report.controls[n], language)}" for n in used]
        lines.append("")
    if notes:
        told = (f"- {plain(note.say(language))}" for note in notes)
        lines += [f"## {heads['notes']}", "", *told, ""]
    lines += [f"## {heads['how']}", "", *_how(manifest), ""]
    return "\n".join(lines)


def table_lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table; all but the first column are numbers."""
    yield "| " + " | ".join(heads) + " |"
    yield "|---|" + "---:|" * (len(heads) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def row_name(row: Row, language: Language) -> str:
    """What a row scores, and over what."""
    where = f" ({plain(word(row.where, language))})" if row.where else ""
    return plain(word(row.name, language)) + where


def number(value: float) -> str:
    """Three places, or a dash where there is no score."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def interval(estimate: Estimate) -> str:
    """Both ends of the interval."""
    if math.isnan(estimate.low):
        return ""
    return f"{number(estimate.low)} – {number(estimate.high)}"


def plain(text: str) -> str:
    """Text of others without what Markdown would read as its own."""
    flat = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|!" else c for c in flat)


def _table(rows: Sequence[Row], report: Report, language: Language) -> Iterator[str]:
    heads = HEADS[language]
    used = [name for name in used_controls(report) if any(name in row.controls for row in rows)]
    first = ["", "n", heads["score"], heads["interval"]]
    cells = (
        [
            row_name(row, language),
            str(row.score.n),
            number(row.score.value),
            interval(row.score),
            *(number(row.controls[n].value) if n in row.controls else "" for n in used),
        ]
        for row in rows
    )
    return table_lines([*first, *(word(name, language) for name in used)], cells)


def _how(manifest: Mapping[str, Any]) -> Iterator[str]:
    for name, value in manifest.items():
        told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"- {name}: `{told.replace('`', '')}`"
