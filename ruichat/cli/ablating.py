"""`ruichat align ablate`: what choices of the alignment stage are worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ruichat.align.ablation import VariantScore
    from ruichat.align.intervals import Interval


def ablate(
    config: Annotated[Path, typer.Option(help="Settings as YAML")] = Path(
        "configs/mini/ablate.yaml"
    ),
    recipe: Annotated[Path, typer.Option(help="Recipe of the run, as YAML")] = Path(
        "configs/mini/recipe.yaml"
    ),
    data: Annotated[Path, typer.Option(help="Folder with tiles/ and text/")] = Path("data"),
    out: Annotated[Path, typer.Option(help="Where variants keep their work")] = Path("runs/ablate"),
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON")] = False,
) -> None:
    """Align in several ways from one language model, and ask all the same questions.

    Interrupted, it goes on where it stopped.
    """
    from rich.console import Console
    from rich.table import Table

    from ruichat.align.ablation import AblationConfig, run_ablation
    from ruichat.align.recipe import RecipeConfig

    settings, made_by = AblationConfig.from_yaml(config), RecipeConfig.from_yaml(recipe)
    console = Console(stderr=True)
    scores = run_ablation(
        settings, made_by, data, out, lambda line: console.print(line, highlight=False)
    )
    if json:
        typer.echo((out / "scores.json").read_text(encoding="utf-8"), nl=False)
        return
    table = Table("variant", "right", "minus the first", "another slide", "precision", "recall")
    for name, score in scores.items():
        table.add_row(name, *_cells(score))
    Console().print(table)


def _cells(score: VariantScore) -> list[str]:
    difference = "" if score.difference is None else _spelled(score.difference, "+.3f")
    shares = (f"{score.precision:.2f}", f"{score.recall:.2f}")
    return [_spelled(score.right), difference, _spelled(score.other_slide), *shares]


def _spelled(interval: Interval, form: str = ".3f") -> str:
    return f"{interval.mean:{form}} ({interval.low:{form}} to {interval.high:{form}})"
