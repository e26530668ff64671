"""`ruichat align adapt`: a model learns another site, and shows what it forgot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ruichat.cli.stages import Anyway


def adapt(
    config: Annotated[Path, typer.Option(help="Settings as YAML")],
    data: Annotated[Path, typer.Option(help="Folder that the settings' paths lie under")] = Path(),
    out: Annotated[Path, typer.Option(help="Folder of the run")] = Path("runs/adapt"),
    anyway: Anyway = False,
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON")] = False,
) -> None:
    """Adapt a model to another site: head and LoRA learn, old tiles are rehearsed.

    Writes a checkpoint for `ruichat ask --model OUT/model`, and scores of both sites before and
    after to OUT/report.md; interrupted, it goes on where it stopped.
    """
    from rich.console import Console
    from rich.markdown import Markdown

    from ruichat.align.adaptation.adapt import ADAPTED_DIR, AdaptConfig
    from ruichat.align.adaptation.adapt import adapt as run
    from ruichat.align.adaptation.report import as_markdown
    from ruichat.cli.progress import stage_bar

    settings = AdaptConfig.from_yaml(config)
    console = Console(stderr=True)
    with stage_bar(console=console) as show:
        adaptation = run(settings, data, out, console.print, show, anyway=anyway)
    if json:
        typer.echo((out / "report.json").read_text(encoding="utf-8"), nl=False)
        return
    Console().print(Markdown(as_markdown(adaptation, "en")))
    console.print(f'Ask it: ruichat ask SLIDE "..." --model {out / ADAPTED_DIR}')
