"""`ruichat align pretrain`, `distill` and `data check-tiles`: encoders from tiles."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ruichat.cli.progress import stage_bar
from ruichat.cli.stages import Anyway
from ruichat.errors import InputError

if TYPE_CHECKING:
    from ruichat.align.pretraining.settings import PretrainConfig

_Recipe = Annotated[Path, typer.Option("--config", help="Recipe as YAML.")]
_Data = Annotated[
    Path, typer.Option("--data", help="Folder that the paths of tiles in it lie under.")
]
_Out = Annotated[
    Path | None, typer.Option("--out", help="Folder of the run; the encoder comes to lie in it.")
]

_TABLES = (".csv", ".tsv")


def pretrain_command(
    config: _Recipe, data: _Data = Path(), out: _Out = None, anyway: Anyway = False
) -> None:
    """Train a tile encoder on tiles alone; interrupted, it goes on where it stopped."""
    from ruichat.align.pretraining.settings import PretrainConfig

    _train("pretrain", PretrainConfig.from_yaml(config), data, out, anyway)


def distill_command(
    config: _Recipe, data: _Data = Path(), out: _Out = None, anyway: Anyway = False
) -> None:
    """Train a tile encoder on what several others see; interrupted, it goes on."""
    from ruichat.align.pretraining.settings import DistillConfig

    _train("distill", DistillConfig.from_yaml(config), data, out, anyway)


def check_tiles_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Manifests (h5_path,patch_count,cum_sum), lists of images, or folders of images.",
        ),
    ],
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="What relative paths in them start from."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Faults to print of each.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line per PATH.")] = False,
) -> None:
    """List what is wrong with tiles to train an encoder on: file, line, remedy."""
    from ruichat.align.pretraining.checking import TileReport, check_tiles
    from ruichat.align.pretraining.tiles import TileSourceConfig

    def show(path: Path, report: TileReport) -> None:
        for fault in report.faults[:limit]:
            typer.secho(f"error: {fault}. {fault.remedy}", fg="red", err=True)
        sizes = ", ".join(f"{size} px" for size, _ in report.sizes.most_common(4))
        typer.echo(
            f"{path}: {report.num_tiles} tiles in {report.num_files} files"
            f"{f', of {sizes}' if sizes else ''}; {len(report.faults)} faults"
        )

    failed = False
    for path in paths:
        source = TileSourceConfig(kind=_kind(path), path=path, root=root, repeat=1)
        with stage_bar() as bar:
            report = check_tiles(source, lambda done, num: bar("looking at files", done, num))
        failed = failed or bool(report.faults)
        if not as_json:
            show(path, report)
            continue
        faults = [
            {"file": str(f.file), "line": f.line, "what": f.what, "remedy": f.remedy}
            for f in report.faults
        ]
        facts = {"path": str(path), "num_tiles": report.num_tiles, "num_files": report.num_files}
        facts |= {"sizes": dict(report.sizes), "faults": faults}
        typer.echo(json.dumps(facts, ensure_ascii=False))
    if failed:
        raise typer.Exit(InputError.exit_code)


def _kind(path: Path) -> Literal["manifest", "list", "folder"]:
    """What a path is, by its first line where it's a table."""
    if path.is_dir():
        return "folder"
    if path.suffix.lower() not in _TABLES:
        return "list"
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline()
    except OSError:
        return "list"
    return "manifest" if "h5_path" in header or "cum_sum" in header else "list"


def _train(stage: str, config: PretrainConfig, data: Path, out: Path | None, anyway: bool) -> None:
    from rich.console import Console

    from ruichat.align.pretraining.stage import train_tile_encoder

    console = Console(stderr=True)
    folder = train_tile_encoder(
        config,
        data,
        out or Path("runs") / stage / config.result.name,
        lambda line: console.print(line, highlight=False, markup=False),
        anyway=anyway,
    )
    if os.environ.get("RANK", "0") == "0":
        console.print(f"Use it: ruichat features extract SLIDES --encoder {folder} --out STORE")
        typer.echo(folder)
