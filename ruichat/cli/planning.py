"""`ruichat align plan`: what a training takes, and what fits which card, before it starts."""

from __future__ import annotations

import json as to_json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ruichat.errors import ConfigError, PrerequisiteError

if TYPE_CHECKING:
    from ruichat.align.preflight.propose import Card, Proposal
    from ruichat.align.preflight.shapes import LanguageShape, RegionShape

CARD_NAMES = ("24gb", "40gb", "48gb", "80gb", "141gb")


def plan(
    language: Annotated[
        str, typer.Argument(metavar="LM", help="Folder of a language model, or one of Qwen3's")
    ] = "Qwen3-8B",
    encoder: Annotated[str, typer.Option(help="Whose bags it reads")] = "uni2-h",
    card: Annotated[str, typer.Option(help=f"{', '.join(CARD_NAMES)}; all if empty")] = "",
    cards: Annotated[int, typer.Option(min=1, help="How many")] = 1,
    tokens: Annotated[int, typer.Option(min=1, help="Text tokens to train on")] = 50_000_000,
    tiles_per_token: Annotated[
        float, typer.Option(min=0, help="Tiles that come along with a text token")
    ] = 4.0,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Stage align: the language model doesn't learn")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="A stage's settings: says what they take, and what fits")
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder that the settings' paths lie under")] = Path(),
    divided: Annotated[
        bool, typer.Option("--divided", help="With --config: weights divided among cards (FSDP2)")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Propose token budget, precision and LoRA rank for a card, with memory and time.

    With --config, tell what a stage takes as its file sets it, on --card or on what is free here.
    All of it is computed from shapes; nothing is loaded.
    """
    if card and card not in CARD_NAMES:
        raise ConfigError(f"card is {card!r}", hint=f"Give one of {', '.join(CARD_NAMES)}")
    if config is not None:
        _print_config(config, data, card, cards, divided, json)
        return
    from ruichat.align.preflight.propose import CARDS, propose
    from ruichat.align.preflight.shapes import RegionShape
    from ruichat.features.encoder import ENCODERS

    shape = _language(language)
    regions = RegionShape(ENCODERS.get(encoder).dim, shape.width)
    rows: list[tuple[Card, Proposal | str]] = []
    for one in [CARDS[card]] if card else CARDS.values():
        try:
            found = propose(
                shape,
                regions,
                one,
                processes=cards,
                tiles_per_token=tiles_per_token,
                trains_language=not frozen,
            )
            rows.append((one, found))
        except PrerequisiteError as error:
            if card:
                raise
            rows.append((one, error.message))
    if json:
        values = [_values(one, found, tokens) for one, found in rows]
        typer.echo(to_json.dumps({"language": language, "encoder": encoder, "plans": values}))
        return
    _print(language, shape, regions, cards, tokens, rows)


def _print_config(
    path: Path, data: Path, card: str, cards: int, divided: bool, as_json: bool
) -> None:
    from ruichat.align.preflight.propose import CARDS, USABLE
    from ruichat.align.preflight.room import Launch, Room, room_of
    from ruichat.align.training.processes import start_processes
    from ruichat.cli.needs import print_needs

    if card:
        room = Room(CARDS[card].name, USABLE * CARDS[card].memory)
    else:
        room = room_of(start_processes())
    print_needs(path, data, Launch(cards, divided), room, as_json)


def _language(name: str) -> LanguageShape:
    from ruichat.align.preflight.shapes import QWEN3, LanguageShape

    if name in QWEN3:
        return QWEN3[name]
    path = Path(name) / "config.json"
    try:
        return LanguageShape.of(to_json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{name} is neither a language model's folder nor one of {', '.join(QWEN3)}",
            hint="Give a folder that holds config.json",
        ) from error


def _values(card: Card, found: Proposal | str, tokens: int) -> dict[str, Any]:
    if isinstance(found, str):
        return {"card": card.name, "fits": False, "why": found}
    return {
        "card": card.name,
        "fits": True,
        "base": found.plan.base,
        "sharded": found.plan.sharded,
        "rank": found.plan.rank,
        "tokens": found.plan.tokens,
        "tiles": found.plan.tiles,
        "recompute": found.plan.recompute,
        "memory_gb": round(found.memory.total / 1e9, 1),
        "tokens_per_second": round(found.tokens_per_second),
        "hours": round(found.hours(tokens), 1),
    }


def _print(
    name: str,
    language: LanguageShape,
    regions: RegionShape,
    cards: int,
    tokens: int,
    rows: list[tuple[Card, Proposal | str]],
) -> None:
    from rich.console import Console
    from rich.table import Table

    from ruichat.align.preflight.propose import ASSUMED_UTILISATION

    table = Table(
        title=f"{name}, {language.parameters / 1e9:.2f}B parameters, tiles of d={regions.bag_dim}"
    )
    for head in ("card", "weights", "LoRA rank", "tokens", "tiles", "recompute", "GB", "hours"):
        table.add_column(head, justify="left" if head in ("card", "weights") else "right")
    for card, found in rows:
        label = f"{cards} x {card.name}" if cards > 1 else card.name
        if isinstance(found, str):
            table.add_row(label, "doesn't fit")
            continue
        plan = found.plan
        table.add_row(
            label,
            f"{plan.base}{', divided' if plan.sharded else ''}",
            str(plan.rank or "frozen"),
            str(plan.tokens),
            str(plan.tiles),
            "yes" if plan.recompute else "no",
            f"{found.memory.total / 1e9:.0f}",
            f"{found.hours(tokens):.1f}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"GB of each card, computed from shapes; hours for {tokens / 1e6:.0f}M text tokens at "
        f"{ASSUMED_UTILISATION:.0%} of the card's peak, not measured.",
        highlight=False,
    )
