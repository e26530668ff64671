"""`ruichat align`: train models, the embedded one from raw data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ruichat.cli import data as data_commands
from ruichat.cli import pretraining
from ruichat.cli.ablating import ablate
from ruichat.cli.adapting import adapt
from ruichat.cli.planning import plan
from ruichat.cli.release import export, export_lm, merge
from ruichat.cli.stages import add_stages

app = typer.Typer(help="Train and align models.", no_args_is_help=True)
data_commands.app.command("check-tiles")(pretraining.check_tiles_command)
app.add_typer(data_commands.app, name="data")
app.command()(adapt)
app.command()(ablate)
app.command()(plan)
app.command()(merge)
app.command()(export)
app.command("export-lm")(export_lm)
app.command("pretrain")(pretraining.pretrain_command)
app.command("distill")(pretraining.distill_command)
add_stages(app)


@app.callback()
def _group() -> None:
    """Train and align models."""


@app.command()
def mini(
    config: Annotated[Path, typer.Option(help="Recipe as YAML")] = Path("configs/mini/recipe.yaml"),
    data: Annotated[Path, typer.Option(help="Folder with tiles/ and text/")] = Path("data"),
    out: Annotated[Path, typer.Option(help="Where stages keep their work")] = Path("runs/mini"),
    threads: Annotated[int, typer.Option(min=0, help="CPU threads, 0 for all")] = 0,
) -> None:
    """Run the whole recipe of `mini`; interrupted, it goes on where it stopped."""
    from rich.console import Console
    from rich.table import Table

    from ruichat.align.recipe import RecipeConfig, run_recipe

    recipe = RecipeConfig.from_yaml(config)
    if threads:
        recipe = recipe.model_copy(update={"threads": threads})
    console = Console(stderr=True)
    times = run_recipe(recipe, data, out, lambda line: console.print(line, highlight=False))
    table = Table("stage", "seconds")
    for item in times:
        table.add_row(item.name, f"{item.seconds:.0f}")
    Console().print(table)
