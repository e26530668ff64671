"""`ruichat features list-encoders` and `show-encoder`: cards of encoders as text and JSON."""

from __future__ import annotations

import json
import sys

import typer

from ruichat.features.encoders.catalogue import Entry, count_in_words, entries, entry

WIDE = 220
"""Columns where nobody looks through a terminal: no cell is wrapped."""


def list_encoders(as_json: bool) -> None:
    """Print a line per encoder."""
    found = entries()
    if as_json:
        typer.echo(json.dumps([item.facts() for item in found], ensure_ascii=False, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    headings = ("name", "dim", "px", "um/px", "parameters", "weights", "gated", "licence")
    table = Table(*headings, "revision", "pooling", box=None, pad_edge=False)
    for item in found:
        table.add_row(*_cells(item))
    width = None if sys.stdout.isatty() else WIDE
    Console(file=sys.stdout, width=width, highlight=False, markup=False).print(table)


def _cells(item: Entry) -> tuple[str, ...]:
    card = item.card
    return (
        card.name,
        str(card.dim),
        str(card.tile_px),
        f"{card.tile_mpp:g}",
        count_in_words(card.num_parameters) if card.num_parameters else "",
        item.weights,
        "gated" if card.gated else "",
        card.license,
        card.revision[:8] or "not pinned",
        card.pooling,
    )


def show_encoder(name: str, as_json: bool) -> None:
    """Print all that is known of one encoder."""
    from ruichat.features.encoder import ENCODERS

    facts = entry(ENCODERS.get(name)).facts()
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    facts["revision"] = facts["revision"] or "not pinned"
    width = max(map(len, facts))
    for field, value in facts.items():
        if value not in ("", None, ()):
            typer.echo(f"{field:{width}}  {_readable(value)}")


def _readable(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return f"{value:,}" if isinstance(value, int) else str(value)
