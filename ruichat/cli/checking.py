"""What `ruichat slide check` says of a slide: facts, rules, and files to look at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ruichat.cli.texts import Key, say, terminal_language
from ruichat.errors import InputError

if TYPE_CHECKING:
    from ruichat.slide.choice import TileChoice
    from ruichat.slide.grid import TileGrid
    from ruichat.slide.quality_rules import RuleResult, Sense
    from ruichat.slide.slide import Slide
    from ruichat.slide.slide_quality import SlideQuality
    from ruichat.slide.tissue import TissueMask

OVERLAY_PX = 1600

_SENSES: dict[Sense, Key] = {"at most": "at_most", "at least": "at_least"}


def assess(
    slide: Slide, tissue: TissueMask, choice: TileChoice, quality: SlideQuality
) -> dict[str, Any]:
    """The facts of `slide check`, as plain values; tiles are measured on up to 64 of them."""
    import numpy as np

    from ruichat.slide.quality import measure_tiles

    grid = choice.grid
    some = grid.xy0[np.linspace(0, len(grid) - 1, min(64, len(grid))).round().astype(np.int64)]
    measured = measure_tiles(slide.read_tiles(some, span0=grid.span0, tile_px=grid.tile_px))
    warnings = list(slide.warnings)
    if tissue.stain_warning:
        warnings.append(tissue.stain_warning)
    if choice.warning:
        warnings.append(choice.warning)
    return {
        "tissue_mm2": round(tissue.area_mm2, 4),
        "num_tiles": len(grid),
        "tiles_left_out": dict(choice.left_out),
        "he_share": round(tissue.he_share, 3),
        "focus": round(float(np.median(measured.focus)), 3),
        "blur_um": _known(quality.blur_um),
        "focus_measured": round(quality.focus_measured, 3),
        "hematoxylin_od": round(float(measured.hematoxylin.mean()), 3),
        "eosin_od": round(float(measured.eosin.mean()), 3),
        "stain_od": round(quality.stain_od, 3),
        "hematoxylin_share": round(quality.hematoxylin_share, 3),
        "faults": {
            one.fault: {"share": _known(one.share), "area_mm2": round(one.area_mm2, 4)}
            for one in quality.findings
        },
        "mask_downsample": round(quality.downsample, 4),
        "warnings": warnings,
    }


def describe_rules(results: tuple[RuleResult, ...]) -> dict[str, Any]:
    """The rules as plain values: what was found, what is allowed, by how much it is missed."""
    return {
        "passed": all(one.passed for one in results),
        "rules": [
            {
                "rule": one.rule,
                "value": _known(one.value),
                "sense": one.sense,
                "limit": one.limit,
                "passed": one.passed,
                "excess": _known(one.excess),
            }
            for one in results
        ],
    }


def print_rules(results: tuple[RuleResult, ...]) -> None:
    """One line for each rule, in the language of the terminal."""
    language = terminal_language()
    for one in results:
        value = "-" if math.isnan(one.value) else f"{one.value:.3g}"
        verdict = say("rule_kept", language)
        if not one.passed:
            verdict = say("rule_missed", language).format(by=f"{one.excess:.3g}")
        allowed = f"{say(_SENSES[one.sense], language)} {one.limit:g}"
        typer.echo(f"{one.rule:18} {value:<8} {allowed:14} {verdict}")


def failure(name: str, results: tuple[RuleResult, ...]) -> InputError | None:
    """What to raise where a slide must keep every rule; None where it does."""
    missed = [one for one in results if not one.passed]
    if not missed:
        return None
    said = "; ".join(
        f"{one.rule} is {one.value:.3g}, {one.sense} {one.limit:g} is allowed, "
        f"missed by {one.excess:.3g}"
        for one in missed
    )
    return InputError(
        f"{name} fails {len(missed)} of {len(results)} rules: {said}",
        hint="Look at what was found with --overlay check.png, or scan the slide again",
    )


def write_overlay(
    slide: Slide,
    tissue: TissueMask,
    path: Path,
    grid: TileGrid | None = None,
    quality: SlideQuality | None = None,
) -> None:
    """The picture for people, as PNG."""
    from ruichat.slide.picture import draw_tissue
    from ruichat.storage.artifacts import write_atomic

    image = draw_tissue(slide, tissue, grid, quality, max_px=OVERLAY_PX)
    write_atomic(path, lambda file: image.save(file, format="PNG"))


def mask_paths(folder: Path) -> dict[str, Path]:
    """Where each mask goes, by name: the tissue and every fault."""
    from ruichat.slide.slide_quality import FAULTS

    return {name: folder / f"{name}.png" for name in ("tissue", *FAULTS)}


def write_masks(quality: SlideQuality, folder: Path) -> None:
    """One black-and-white PNG for each mask; its text says how many level-0 pixels a cell has."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from ruichat.storage.artifacts import write_atomic

    masks = {"tissue": quality.tissue} | {one.fault: one.mask for one in quality.findings}
    info = PngInfo()
    info.add_text("downsample", f"{quality.downsample:.6g}")
    for name, path in mask_paths(folder).items():
        image = Image.fromarray(masks[name])
        write_atomic(path, lambda file, i=image: i.save(file, format="PNG", pnginfo=info))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
