"""`ruichat features`: from a slide to its bag of embeddings."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ruichat.cli.pooling import pool_command
from ruichat.errors import ConfigError

if TYPE_CHECKING:
    from ruichat.features.encoder import Chosen
    from ruichat.features.extract import ExtractConfig
    from ruichat.features.runtime.ways import RunConfig

app = typer.Typer(no_args_is_help=True, help="Turn slides into embeddings.")
app.command("pool")(pool_command)


@app.callback()
def features() -> None:
    """Turn slides into embeddings."""


@app.command("extract")
def extract_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Slides, plain regions, DICOM folders, or folders with any mix of slides.",
        ),
    ],
    mpp: Annotated[
        float | None,
        typer.Option("--mpp", help="Micrometres per pixel, where a file doesn't state it."),
    ] = None,
    icc: Annotated[
        bool, typer.Option("--icc", help="Convert colours to sRGB by the slide's ICC profile.")
    ] = False,
    encoder_name: Annotated[
        str, typer.Option("--encoder", help="Name of the encoder's card, or an encoder's folder.")
    ] = "mini",
    weights: Annotated[
        Path | None, typer.Option("--weights", help="File or folder with the encoder's weights.")
    ] = None,
    download: Annotated[
        bool,
        typer.Option("--download", help="Fetch weights that aren't here from the hub first."),
    ] = False,
    runtime: Annotated[
        str, typer.Option("--runtime", help="auto, torch, openvino or cuda.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option("--precision", help="auto, fp32, bf16, or fp16 on a GPU.")
    ] = "auto",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the bags; for one slide also a file, NAME.h5."),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="Who works on a folder: local processes, or ray.")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes, each with its encoder."),
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="Of a running Ray cluster.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; for a folder a line per slide.")
    ] = False,
) -> None:
    """Encode the tissue of slides; an interrupted run goes on where it stopped."""
    from ruichat.cli.extracting import choose_engine, extract_many, is_single
    from ruichat.features.encoder import choose_encoder
    from ruichat.features.extract import ExtractConfig
    from ruichat.features.jobs import Settings
    from ruichat.features.runtime.ways import RunConfig

    chosen_engine = choose_engine(engine)
    encoder = choose_encoder(encoder_name, weights)
    if download:
        from ruichat.features.encoders.weights import find_files

        find_files(encoder.card, encoder.weights, download=True)
    run = RunConfig.checked(
        {"runtime": runtime, "precision": precision, "device": device}, source="the command line"
    )
    config = ExtractConfig.for_encoder(encoder.card, icc=icc)
    if is_single(paths, out):
        _extract_one(paths[0], mpp, config, encoder, run, out, as_json)
        return
    if out is None:
        raise ConfigError(
            "the bags of several slides need a folder", hint="Give one with --out DIR"
        )
    settings = Settings(encoder.card, config, out.absolute(), mpp, encoder.weights, run)
    extract_many(
        paths,
        settings,
        engine=chosen_engine,
        workers=workers,
        ray_address=ray_address,
        as_json=as_json,
    )


@app.command("list-encoders")
def list_encoders_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the encoders that --encoder can name, and whether their weights are here."""
    from ruichat.cli.encoders import list_encoders

    list_encoders(as_json)


@app.command("show-encoder")
def show_encoder_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the encoder's card, or its folder.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print all that is known of one encoder: transform, licence, source, weights."""
    from ruichat.cli.encoders import show_encoder

    show_encoder(name, as_json)


def _extract_one(
    path: Path,
    mpp: float | None,
    config: ExtractConfig,
    chosen: Chosen,
    run: RunConfig,
    out: Path | None,
    as_json: bool,
) -> None:
    from ruichat.cli.outputs import check_not_input
    from ruichat.cli.progress import stage_bar
    from ruichat.features.encoder import load_card
    from ruichat.features.extract import extract
    from ruichat.slide.opening import open_slide
    from ruichat.storage.artifacts import cache_dir

    if out is not None:
        check_not_input(out, path)
    note = functools.partial(typer.echo, err=True)
    encoder = load_card(chosen.card, weights=chosen.weights, run=run, note=note)
    with open_slide(path, mpp=mpp, icc=config.icc) as slide, stage_bar() as show:
        tiles = functools.partial(show, "encoding tiles")
        bag = extract(slide, encoder, config, cache=cache_dir(), progress=tiles)
        read = slide.counts.tiles
    if out is not None:
        bag.save(out)
    facts = {
        "file": path.name,
        "num_tiles": len(bag),
        "tiles_read": read,
        "dim": bag.dim,
        "encoder": bag.encoder,
        "way": bag.way,
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


@app.command("import")
def import_command(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Feature files of TRIDENT, CLAM, STAMP, HistoGPT."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the bags.")],
    encoder_name: Annotated[
        str | None,
        typer.Option("--encoder", help="Card of the encoder, where a file doesn't state it."),
    ] = None,
    mpp: Annotated[
        float | None, typer.Option("--mpp", help="Micrometres per level-0 pixel of the slides.")
    ] = None,
    tile_mpp: Annotated[
        float | None,
        typer.Option("--tile-mpp", help="Micrometres per pixel of the tiles (HistoGPT)."),
    ] = None,
    patches: Annotated[
        Path | None,
        typer.Option("--patches", help="CLAM's file of patches, or the folder of all of them."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line per file.")] = False,
) -> None:
    """Turn other tools' feature files into bags."""
    from ruichat.cli.extracting import report
    from ruichat.features.foreign.given import Given
    from ruichat.features.foreign.importing import import_files
    from ruichat.features.store import Store

    given = Given(encoder_name, mpp, tile_mpp, patches)
    store = Store(out.absolute())
    report(import_files(files, store, given), store.folder, as_json=as_json)


@app.command("info")
def info_command(
    path: Annotated[
        Path, typer.Argument(metavar="BAG", help="A bag, or another tool's feature file.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a feature file holds, whose it is, and whether it is whole."""
    from ruichat.chat.plain import strip_controls
    from ruichat.features.foreign.describe import describe

    facts = describe(path)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for name, value in facts.items():
        typer.echo(strip_controls(f"{name:16} {'unknown' if value is None else value}"))
