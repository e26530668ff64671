"""`ruichat align plan --config`: what a stage takes as its file sets it, and what would fit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ruichat.config import read_yaml
from ruichat.errors import ConfigError
from ruichat.registry import load_object

if TYPE_CHECKING:
    from ruichat.align.preflight.room import Launch, Need, Room


@dataclass(frozen=True)
class Known:
    """A stage whose memory is foretold.

    Attributes:
        field: that its settings have, and those of the stages below haven't.
        read: reads its settings.
        needs: what tells.
        is_rooted: whether that has to know the folder of the data.
    """

    field: str
    read: str
    needs: str
    is_rooted: bool = False


KNOWN: dict[str, Known] = {
    "align": Known(
        "language_model",
        "ruichat.align.stages.config:AlignConfig.from_yaml",
        "ruichat.align.stages.align:align_needs",
    ),
    "think": Known(
        "teach",
        "ruichat.align.think.config:read_config",
        "ruichat.align.think.stage:think_needs",
    ),
    "instruct": Known(
        "base",
        "ruichat.align.stages.config:InstructConfig.from_yaml",
        "ruichat.align.stages.instruct:instruct_needs",
    ),
    "adapt": Known(
        "site",
        "ruichat.align.adaptation.adapt:AdaptConfig.from_yaml",
        "ruichat.align.adaptation.adapt:adapt_needs",
        is_rooted=True,
    ),
    "distill": Known(
        "teachers",
        "ruichat.align.pretraining.settings:DistillConfig.from_yaml",
        "ruichat.align.pretraining.needs:vision_needs",
    ),
    "pretrain": Known(
        "backbone",
        "ruichat.align.pretraining.settings:PretrainConfig.from_yaml",
        "ruichat.align.pretraining.needs:vision_needs",
    ),
}


def stage_of(path: Path) -> str:
    """Which stage a file of settings is for.

    Raises:
        ConfigError: none.
    """
    values = read_yaml(path)
    for name, known in KNOWN.items():
        if known.field in values:
            return name
    fields = ", ".join(f"{known.field} ({name})" for name, known in KNOWN.items())
    raise ConfigError(f"{path.name} is for no stage: it has none of {fields}")


def print_needs(path: Path, data: Path, launch: Launch, room: Room, as_json: bool) -> None:
    """What the stage of a file takes, part by part.

    Raises:
        NoRoomError: it doesn't fit, after all is printed.
    """
    from ruichat.align.preflight.room import require_room

    stage = stage_of(path)
    needs = _needs(KNOWN[stage], path, data, launch)
    if as_json:
        values = [_values(need, room) for need in needs]
        room_values = {"where": room.where, "free_gb": round(room.free / 1e9, 1)}
        typer.echo(json.dumps({"stage": stage, "room": room_values, "parts": values}))
    else:
        _print(needs, room)
    for need in needs:
        require_room(need, room)


def _needs(known: Known, path: Path, data: Path, launch: Launch) -> list[Need]:
    read: Any = load_object(known.read)
    settings = read(path)
    needs: Any = load_object(known.needs)
    return needs(settings, data, launch) if known.is_rooted else needs(settings, launch)


def _values(need: Need, room: Room) -> dict[str, Any]:
    from ruichat.align.preflight.room import parts_of, remedy

    own = need.ways[0].memory
    fits = room.fits(own)
    return {
        "part": need.part,
        "fits": fits,
        "gb": round(room.takes(own) / 1e9, 2),
        "of_it": {name: round(size / 1e9, 2) for name, size in parts_of(own).items()},
        "remedy": "" if fits else remedy(need, room),
    }


def _print(needs: list[Need], room: Room) -> None:
    from rich.console import Console
    from rich.table import Table

    from ruichat.align.preflight.room import parts_of

    console = Console()
    if not needs:
        console.print("It trains no network: there is nothing to foretell.")
        return
    table = Table("GB", *(need.part for need in needs))
    own = [need.ways[0].memory for need in needs]
    rows = {name: [parts_of(one)[name] for one in own] for name in parts_of(own[0])}
    rows |= {
        "all": [room.takes(one) for one in own],
        f"free on {room.where}": [room.free] * len(own),
    }
    for name, sizes in rows.items():
        table.add_row(name, *(f"{size / 1e9:.1f}" for size in sizes))
    console.print(table)
