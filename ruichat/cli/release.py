"""`ruichat align merge` and `export`: checkpoints for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Checkpoint = Annotated[Path, typer.Argument(help="Folder of the checkpoint, or mini")]


def merge(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="Folder of the new checkpoint; new or empty")],
) -> None:
    """Fold a checkpoint's adapter into its weights; answers stay what they were.

    Weights kept in bfloat16 are rounded to it: wordings may then differ here and there.
    """
    from ruichat.model.release import merge as run

    typer.echo(run(_folder(checkpoint), out))


def export_lm(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="Folder of the language model; new or empty")],
) -> None:
    """Write a checkpoint's language model alone, adapter folded in, for a server to run.

    Then: vllm serve OUT --enable-prompt-embeds, and ruichat ask --model embeds:CHECKPOINT.
    """
    from ruichat.model.served import write_language_model

    typer.echo(write_language_model(_folder(checkpoint), out))


def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="Folder of the release; new or empty")],
    licence: Annotated[str, typer.Option(help="Of the weights, for example Apache-2.0")],
    data: Annotated[str, typer.Option(help="A sentence on what it was trained on")],
    scores: Annotated[
        Path | None, typer.Option(help="JSON of: ruichat evaluate run --json FILE")
    ] = None,
    features: Annotated[
        list[Path] | None, typer.Option("--features", help="A bag to release along; repeat it")
    ] = None,
) -> None:
    """Write a folder to hand on: checkpoint, model cards in both languages, scores, features."""
    from ruichat.model.release import export as run

    folder, bags = _folder(checkpoint), features or []
    typer.echo(run(folder, out, licence=licence, data=data, scores=scores, features=bags))


def _folder(checkpoint: Path) -> Path:
    """A checkpoint by its folder, or the embedded one by its name."""
    from ruichat.model.checkpoint import MINI_DIR

    return MINI_DIR if str(checkpoint) == "mini" and not checkpoint.is_dir() else checkpoint
