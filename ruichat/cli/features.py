"""`ruichat features`: from a slide to its bag of embeddings."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Turn slides into embeddings.")


@app.callback()
def features() -> None:
    """Turn slides into embeddings."""


@app.command("extract")
def extract_command(
    slide_path: Annotated[
        Path, typer.Argument(metavar="SLIDE", help="Slide, DICOM folder, or plain region.")
    ],
    mpp: Annotated[
        float | None,
        typer.Option("--mpp", help="Micrometres per pixel, where the file doesn't state it."),
    ] = None,
    encoder_name: Annotated[
        str, typer.Option("--encoder", help="Name of the encoder's card.")
    ] = "mini",
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the bag to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Encode the tissue of a slide; an interrupted run goes on where it stopped."""
    from ruichat.cli.outputs import check_not_input
    from ruichat.cli.progress import stage_bar
    from ruichat.features.encoder import ENCODERS, load_encoder
    from ruichat.features.extract import ExtractConfig, extract
    from ruichat.slide.opening import open_slide
    from ruichat.storage.artifacts import cache_dir

    if out is not None:
        check_not_input(out, slide_path)
    card = ENCODERS.get(encoder_name)
    config = ExtractConfig.for_encoder(card)
    with open_slide(slide_path, mpp=mpp) as slide, stage_bar() as show:
        tiles = functools.partial(show, "encoding tiles")
        bag = extract(slide, load_encoder(card.name), config, cache=cache_dir(), progress=tiles)
        read = slide.counts.tiles
    if out is not None:
        bag.save(out)
    facts = {
        "file": slide_path.name,
        "num_tiles": len(bag),
        "tiles_read": read,
        "dim": bag.dim,
        "encoder": bag.encoder,
        "tissue_mm2": round(bag.tissue_area_mm2, 4),
        "sha256": bag.slide_digest,
        "warnings": list(bag.warnings),
    }
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    typer.echo(f"{len(bag)} tiles, {bag.tissue_area_mm2:.2f} mm² of tissue, {bag.encoder}")
    for warning in bag.warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
