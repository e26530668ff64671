"""`ruichat align think`: a model learns to think before it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def think(
    config: Annotated[Path, typer.Option(help="Settings as YAML")],
    out: Annotated[Path, typer.Option(help="Folder of the run")] = Path("runs/think"),
) -> None:
    """Teach a model written thoughts, then reward thoughts that lead to right answers.

    Writes a checkpoint for `ruichat ask --model OUT/lm --think`; interrupted, it goes on where it
    stopped.
    """
    from rich.console import Console

    from ruichat.registry import require

    for package in ("trl", "datasets"):
        require(package, extra="align")
    from ruichat.align.think.stage import ThinkConfig
    from ruichat.align.think.stage import think as run

    settings = ThinkConfig.from_yaml(config)
    console = Console(stderr=True)
    folder = run(settings, out, lambda line: console.print(line, highlight=False))
    console.print(f'Ask it: ruichat ask SLIDE "..." --model {folder} --think')
