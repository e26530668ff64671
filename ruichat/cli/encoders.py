"""`ruichat features list-encoders` and `show-encoder`: cards of encoders as text and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

import typer

from ruichat.features.encoders.catalogue import (
    Entry,
    count_in_words,
    entries,
    entry_of,
    slide_entries,
)
from ruichat.features.slide_encoders.card import SlideEncoderCard

WIDE = 220
"""Columns where nobody looks through a terminal: no cell is wrapped."""

HEADINGS = (
    "dim",
    "px",
    "um/px",
    "parameters",
    "weights",
    "gated",
    "licence",
    "revision",
    "pooling",
)


def list_encoders(as_json: bool) -> None:
    """Print a line per tile encoder, then one per slide encoder."""
    tiles, slides = entries(), slide_entries()
    if as_json:
        found = {"encoders": tiles, "slide_encoders": slides}
        facts = {kind: [item.facts() for item in items] for kind, items in found.items()}
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    _print_table(("name", *HEADINGS), map(_cells, tiles))
    typer.echo("\nSlide encoders, for `features pool`:\n")
    _print_table(("name", "takes bags of", *HEADINGS), map(_slide_cells, slides))


def _print_table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*headings, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else WIDE
    Console(file=sys.stdout, width=width, highlight=False, markup=False).print(table)


def _cells(item: Entry) -> tuple[str, ...]:
    card = item.card
    return (
        card.name,
        str(card.dim or "any"),
        str(card.tile_px or "any"),
        f"{card.tile_mpp:g}" if card.tile_mpp else "any",
        count_in_words(card.num_parameters) if card.num_parameters else "",
        item.weights,
        "gated" if card.gated else "",
        card.license,
        card.revision[:8] or ("not pinned" if card.num_parameters else ""),
        card.pooling,
    )


def _slide_cells(item: Entry) -> tuple[str, ...]:
    name, *others = _cells(item)
    card = item.card
    assert isinstance(card, SlideEncoderCard)
    return (name, card.tile_encoder or "any", *others)


def show_encoder(name: str, as_json: bool) -> None:
    """Print all that is known of one encoder."""
    facts = entry_of(name).facts()
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
