"""`ruichat features pool`: from bags to one embedding per slide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ruichat.chat.plain import strip_controls

if TYPE_CHECKING:
    from ruichat.features.slide_encoders.encoder import SlideEncoder


def pool_command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="BAG...", help="Bags of slides, or folders of bags.")
    ],
    name: Annotated[str, typer.Option("--slide-encoder", help="Name of the slide encoder's card.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="File for the embedding; a folder where there are several bags."
        ),
    ],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="File or folder with its weights.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch its weights from the hub if need be.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line per bag.")] = False,
) -> None:
    """Pool bags into one embedding per slide, in files that TRIDENT's users can read."""
    from ruichat.cli.progress import stage_bar
    from ruichat.errors import InputError, RuiChatError
    from ruichat.features.slide_encoders.encoder import load_slide_encoder

    files = _files(_bags(paths), out)
    encoder = load_slide_encoder(name, weights=weights, download=download)
    failed = 0
    with stage_bar() as show:
        for i, (bag, file) in enumerate(files.items()):
            show("pooling bags", i, len(files))
            try:
                _tell(_pool(encoder, bag, file), as_json=as_json)
            except RuiChatError as error:
                if len(files) == 1:
                    raise
                failed += 1
                typer.secho(strip_controls(f"failed: {bag.name}: {error}"), fg="red", err=True)
    if failed:
        raise typer.Exit(InputError.exit_code)


def _bags(paths: list[Path]) -> list[Path]:
    """The bags named, and those in the folders named.

    Raises:
        InputError: a folder holds none.
    """
    from ruichat.errors import InputError
    from ruichat.features.bag import SUFFIX

    bags: list[Path] = []
    for path in paths:
        found = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path} holds no {SUFFIX} files", hint="Give a folder of bags")
        bags += found
    return bags


def _files(bags: list[Path], out: Path) -> dict[Path, Path]:
    """File of the embedding by bag.

    Raises:
        ConfigError: several bags would go to one file, or a file would go over its bag.
    """
    from ruichat.cli.outputs import check_not_input
    from ruichat.errors import ConfigError

    if len(bags) == 1 and out.suffix and not out.is_dir():
        files = {bags[0]: out}
    else:
        files = {bag: out / f"{bag.stem}.h5" for bag in bags}
    if (out.is_file() and len(bags) > 1) or len(set(files.values())) < len(bags):
        raise ConfigError(
            f"{len(bags)} bags can't go to {out}: each needs a name of its own",
            hint="Give a folder with --out, and bags of different names",
        )
    for bag, file in files.items():
        check_not_input(file, bag, what="one of the bags")
    return files


def _pool(encoder: SlideEncoder, bag: Path, file: Path) -> dict[str, Any]:
    from ruichat.features.bag import FeatureBag

    embedding = encoder.encode(FeatureBag.load(bag))
    embedding.save(file)
    return {
        "bag": bag.name,
        "out": str(file),
        "slide_encoder": embedding.slide_encoder,
        "dim": len(embedding.vector),
        "num_tiles": embedding.num_tiles,
        "encoder": embedding.encoder,
        "sha256": embedding.slide_digest,
        "warnings": list(embedding.warnings),
    }


def _tell(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    for warning in facts["warnings"]:
        line = strip_controls(f"warning: {facts['bag']}: {warning}")
        typer.secho(line, fg="yellow", err=True)
    line = (
        f"{facts['out']}: {facts['dim']} numbers for {facts['num_tiles']} tiles, "
        f"{facts['slide_encoder']} over {facts['encoder']}"
    )
    typer.echo(strip_controls(line))
