"""`ruichat slide`: what a slide file is, and whether RuiChat can answer questions about it."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ruichat.errors import InputError

if TYPE_CHECKING:
    from ruichat.slide.slide import Slide


class PictureChoice(StrEnum):
    """Pictures beside the scan that can show names."""

    label = "label"
    macro = "macro"


app = typer.Typer(no_args_is_help=True, help="Look at a slide file.")

SlidePath = Annotated[Path, typer.Argument(help="Slide, DICOM folder, or PNG/JPEG/TIFF region.")]
MppOption = Annotated[
    float | None,
    typer.Option("--mpp", help="Micrometres per pixel, where the file doesn't state it."),
]
IccOption = Annotated[
    bool, typer.Option("--icc", help="Convert colours to sRGB by the slide's ICC profile.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def info(path: SlidePath, mpp: MppOption = None, as_json: JsonOption = False) -> None:
    """Format, size and resolution of a slide."""
    from ruichat.slide.opening import open_slide

    with open_slide(path, mpp=mpp) as slide:
        facts = describe(slide)
        if slide.vendor == "dicom":
            facts["warnings"] += _false_colours(slide)
        _print(facts, as_json)


@app.command()
def check(
    path: SlidePath,
    mpp: MppOption = None,
    icc: IccOption = False,
    as_json: JsonOption = False,
    overlay: Annotated[
        Path | None,
        typer.Option("--overlay", metavar="PNG", help="Draw tissue, tiles and faults."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="DIR", help="Write a PNG mask of each fault."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with code 4 where the slide fails a rule.")
    ] = False,
) -> None:
    """Tissue, tiles, faults and stain of a slide: whether questions can be answered."""
    from ruichat.cli import checking
    from ruichat.cli.outputs import check_not_input
    from ruichat.slide.choice import ChoiceConfig, choose_tiles
    from ruichat.slide.grid import GridConfig, lay_grid
    from ruichat.slide.opening import open_slide
    from ruichat.slide.quality_rules import QualityRules, apply_rules
    from ruichat.slide.slide_quality import QualityConfig, inspect_slide
    from ruichat.slide.tissue import TissueConfig, find_tissue

    for out in [overlay, *(checking.mask_paths(masks).values() if masks else ())]:
        if out is not None:
            check_not_input(out, path)
    with open_slide(path, mpp=mpp, icc=icc) as slide:
        tissue = find_tissue(slide, TissueConfig())
        if overlay is not None:
            checking.write_overlay(slide, tissue, overlay)
        grid = lay_grid(slide, tissue, GridConfig())
        quality = inspect_slide(slide, tissue, QualityConfig())
        choice = choose_tiles(grid, quality, ChoiceConfig())
        if overlay is not None:
            checking.write_overlay(slide, tissue, overlay, choice.grid, quality)
        if masks is not None:
            checking.write_masks(quality, masks)
        results = apply_rules(quality, tissue.area_mm2, QualityRules())
        facts = describe(slide) | checking.assess(slide, tissue, choice, quality)
    if as_json:
        _print(facts | checking.describe_rules(results), as_json)
    else:
        _print(facts, as_json)
        checking.print_rules(results)
    error = checking.failure(path.name, results)
    if error is not None and strict:
        raise error
    if error is not None and not as_json:
        typer.secho(f"warning: {error.message}", fg="yellow", err=True)


@app.command()
def label(
    path: SlidePath,
    out: Annotated[Path, typer.Option("--out", metavar="PNG", help="File for the picture.")],
    kind: Annotated[
        PictureChoice, typer.Option("--kind", help="The label, or the whole glass.")
    ] = PictureChoice.label,
) -> None:
    """Write the picture of a slide's label or glass, which can show a patient's name."""
    from PIL import Image

    from ruichat.cli.outputs import check_not_input
    from ruichat.slide.opening import read_picture
    from ruichat.storage.artifacts import write_atomic

    check_not_input(out, path)
    image = Image.fromarray(read_picture(path, kind.value))
    write_atomic(out, lambda file: image.save(file, format="PNG"))
    typer.secho(
        f"warning: {out} can show a patient's name: don't pass it on", fg="yellow", err=True
    )


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


def _false_colours(slide: Slide) -> list[str]:
    """A DICOM file may state the wrong colour space for its frames; nothing but tissue shows it."""
    from ruichat.slide.tissue import TissueConfig, find_tissue

    try:
        warning = find_tissue(slide, TissueConfig()).stain_warning
    except InputError:  # no tissue, no stain
        return []
    return [warning] if warning else []


def _print(facts: dict[str, Any], as_json: bool) -> None:
    from ruichat.chat.plain import strip_controls

    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for name, value in facts.items():
        if name == "faults":
            for fault, found in value.items():
                typer.echo(f"{fault:18} {_say_fault(found)}")
        elif name == "tiles_left_out":
            said = ", ".join(f"{fault} {count}" for fault, count in value.items())
            typer.echo(f"{name:18} {said or 0}")
        elif name != "warnings":
            typer.echo(strip_controls(f"{name:18} {value}"))
    for warning in facts["warnings"]:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)


def _say_fault(found: dict[str, float | None]) -> str:
    if found["share"] is None:
        return "can't be told on this stain"
    return f"{found['share']:.1%} of the tissue, {found['area_mm2']} mm2"
