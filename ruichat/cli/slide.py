"""`ruichat slide`: what a slide file is, and whether RuiChat can answer questions about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ruichat.slide.grid import TileGrid
    from ruichat.slide.slide import Slide
    from ruichat.slide.tissue import TissueMask

app = typer.Typer(no_args_is_help=True, help="Look at a slide file.")

SlidePath = Annotated[Path, typer.Argument(help="Slide, DICOM folder, or PNG/JPEG/TIFF region.")]
MppOption = Annotated[
    float | None,
    typer.Option("--mpp", help="Micrometres per pixel, where the file doesn't state it."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

OVERLAY_PX = 1600


@app.command()
def info(path: SlidePath, mpp: MppOption = None, as_json: JsonOption = False) -> None:
    """Format, size and resolution of a slide."""
    from ruichat.slide.opening import open_slide

    with open_slide(path, mpp=mpp) as slide:
        _print(describe(slide), as_json)


@app.command()
def check(
    path: SlidePath,
    mpp: MppOption = None,
    as_json: JsonOption = False,
    overlay: Annotated[
        Path | None,
        typer.Option("--overlay", metavar="PNG", help="Draw tissue and tiles on the thumbnail."),
    ] = None,
) -> None:
    """Tissue, tiles, focus and stain of a slide: whether questions can be answered."""
    from ruichat.cli.outputs import check_not_input
    from ruichat.slide.grid import GridConfig, lay_grid
    from ruichat.slide.opening import open_slide
    from ruichat.slide.tissue import TissueConfig, find_tissue

    if overlay is not None:
        check_not_input(overlay, path)
    with open_slide(path, mpp=mpp) as slide:
        tissue = find_tissue(slide, TissueConfig())
        if overlay is not None:
            _write_overlay(slide, tissue, overlay)
        grid = lay_grid(slide, tissue, GridConfig())
        if overlay is not None:
            _write_overlay(slide, tissue, overlay, grid)
        _print(describe(slide) | assess(slide, tissue, grid), as_json)


def describe(slide: Slide) -> dict[str, Any]:
    """The facts of `slide info`, as plain values."""
    return {
        "file": slide.path.name,
        "format": slide.vendor,
        "reader": slide.opened_by,
        "width0": slide.width0,
        "height0": slide.height0,
        "width_mm": round(slide.width0 * slide.mpp.value / 1000, 3),
        "height_mm": round(slide.height0 * slide.mpp.value / 1000, 3),
        "mpp": slide.mpp.value,
        "mpp_source": slide.mpp.source,
        "levels": [round(d, 3) for d in slide.level_downsamples],
        "sha256": slide.digest,
        "warnings": list(slide.warnings),
    }


def assess(slide: Slide, tissue: TissueMask, grid: TileGrid) -> dict[str, Any]:
    """The facts of `slide check`, as plain values; focus is measured on up to 64 tiles."""
    import numpy as np

    from ruichat.slide.quality import measure_tiles

    some = grid.xy0[np.linspace(0, len(grid) - 1, min(64, len(grid))).round().astype(np.int64)]
    quality = measure_tiles(slide.read_tiles(some, span0=grid.span0, tile_px=grid.tile_px))
    warnings = list(slide.warnings)
    if tissue.stain_warning:
        warnings.append(tissue.stain_warning)
    return {
        "tissue_mm2": round(tissue.area_mm2, 4),
        "num_tiles": len(grid),
        "he_share": round(tissue.he_share, 3),
        "focus": round(float(np.median(quality.focus)), 3),
        "hematoxylin_od": round(float(quality.hematoxylin.mean()), 3),
        "eosin_od": round(float(quality.eosin.mean()), 3),
        "warnings": warnings,
    }


def _write_overlay(
    slide: Slide, tissue: TissueMask, path: Path, grid: TileGrid | None = None
) -> None:
    from ruichat.slide.picture import draw_tissue
    from ruichat.storage.artifacts import write_atomic

    image = draw_tissue(slide, tissue, grid, max_px=OVERLAY_PX)
    write_atomic(path, lambda file: image.save(file, format="PNG"))


def _print(facts: dict[str, Any], as_json: bool) -> None:
    from ruichat.chat.plain import strip_controls

    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for name, value in facts.items():
        if name != "warnings":
            typer.echo(strip_controls(f"{name:16} {value}"))
    for warning in facts["warnings"]:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
