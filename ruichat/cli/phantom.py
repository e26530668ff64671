"""`ruichat phantom`: drawn H&E slides with exact truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Draw H&E slides whose truth is known.")


@app.callback()
def phantom() -> None:
    """Draw H&E slides whose truth is known."""


@app.command("draw")
def draw_command(
    out: Annotated[Path, typer.Argument(metavar="OUT.tif", help="The slide to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another slide.")] = 0,
    width: Annotated[int, typer.Option(help="Pixels at level 0.")] = 4096,
    height: Annotated[int, typer.Option(help="Pixels at level 0.")] = 3072,
    mpp: Annotated[float, typer.Option("--mpp", help="Micrometres per pixel.")] = 0.5,
    classes: Annotated[
        str, typer.Option(help="Comma-separated tissue classes; all where empty.")
    ] = "",
    artefacts: Annotated[
        bool, typer.Option("--artefacts", help="Add pen, fold, blur, bubbles, stain shift.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Usual stain and scanner, nothing randomised.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Draw a slide: OUT.tif, with its truth in OUT.json and OUT.mask.png."""
    from ruichat.errors import ConfigError
    from ruichat.slide.phantom import (
        ALL_ARTEFACTS,
        PHANTOM_CLASSES,
        PhantomConfig,
        draw_phantom,
        write_phantom,
    )

    if out.suffix.lower() not in (".tif", ".tiff"):
        raise ConfigError(f"{out.name} is not a TIFF name", hint="Let it end in .tif")
    wanted = [name.strip() for name in classes.split(",") if name.strip()]
    settings = {
        "seed": seed,
        "width0": width,
        "height0": height,
        "mpp": mpp,
        "randomise": not plain,
        "artefacts": ALL_ARTEFACTS if artefacts else (),
        "mix": dict.fromkeys(wanted or PHANTOM_CLASSES, 1.0),
    }
    config = PhantomConfig.checked(
        settings, source="this phantom", hint=f"Classes are {', '.join(PHANTOM_CLASSES)}"
    )
    drawn = draw_phantom(config)
    write_phantom(drawn, out)
    facts = {
        "file": out.name,
        "truth": out.with_suffix(".json").name,
        "mask": out.with_suffix(".mask.png").name,
        "seed": seed,
        "size0": [width, height],
        "mpp": mpp,
        "areas_mm2": {key: round(area, 6) for key, area in drawn.areas_mm2.items()},
        "nuclei": len(drawn.nuclei.xy0),
        "mitoses": drawn.mitoses,
    }
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    typer.echo(f"{out}: {width} x {height} px at {mpp} um/px, {facts['nuclei']} nuclei")
    for key, area in drawn.areas_mm2.items():
        typer.echo(f"  {key:18} {area:8.3f} mm²")
