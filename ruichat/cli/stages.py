"""`ruichat align STAGE --config ...`: the stages, one line each."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ruichat.registry import load_object

Anyway = Annotated[
    bool, typer.Option("--anyway", help="Start even if memory is foretold not to suffice")
]


@dataclass(frozen=True)
class Stage:
    """One stage: what it does, what reads its settings and the function that runs it."""

    summary: str
    read: str
    run: str


STAGES: dict[str, Stage] = {
    "align": Stage(
        "Align an encoder with a language model, which stays as it is.",
        "ruichat.align.stages.config:AlignConfig.from_yaml",
        "ruichat.align.stages.align:train_align",
    ),
    "instruct": Stage(
        "Tune an aligned model on dialogues with LoRA.",
        "ruichat.align.stages.config:InstructConfig.from_yaml",
        "ruichat.align.stages.instruct:train_instruct",
    ),
    "think": Stage(
        "Teach a model to think before it answers, then reward what leads to right answers.",
        "ruichat.align.think.config:read_config",
        "ruichat.align.think.stage:think",
    ),
}


def add_stages(app: typer.Typer) -> None:
    """A command for every stage of the table."""
    for name, stage in STAGES.items():
        app.command(name, help=f"{stage.summary} Interrupted, it goes on where it stopped.")(
            _command(name, stage)
        )


def _command(name: str, stage: Stage) -> Callable[..., None]:
    def run(
        config: Annotated[Path, typer.Option(help="Settings as YAML")],
        data: Annotated[
            Path, typer.Option(help="Folder that the settings' paths lie under")
        ] = Path(),
        out: Annotated[Path | None, typer.Option(help="Folder of the run")] = None,
        anyway: Anyway = False,
    ) -> None:
        from rich.console import Console

        # Settings first: what is wrong with them is told before torch is loaded.
        read: Any = load_object(stage.read)
        settings = read(config)
        train: Any = load_object(stage.run)
        console = Console(stderr=True)
        folder = train(
            settings,
            data,
            out or Path("runs") / name / settings.name,
            lambda line: console.print(line, highlight=False, markup=False),
            anyway=anyway,
        )
        if os.environ.get("RANK", "0") == "0":
            console.print(f'Ask it: ruichat ask SLIDE "..." --model {folder}', highlight=False)

    return run
