"""Slides on which people outlined tissue: what `slides.csv` names, read as labelled tiles."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from pydantic import Field

from ruichat.config import Config, Seed
from ruichat.errors import InputError, MissingMppError
from ruichat.features.card import EncoderCard
from ruichat.features.cores import usable_cores
from ruichat.features.extract import MAX_READERS, ExtractConfig, lay_tiles
from ruichat.slide.geometry import fill_rings, mask_fractions
from ruichat.slide.grid import TileGrid
from ruichat.slide.mpp import MAX_MPP, MIN_MPP
from ruichat.slide.opening import open_slide
from ruichat.slide.slide import Slide
from ruichat.truth.annotations import Annotation, Annotations, read_annotations
from ruichat.truth.listing import path_inside, read_listing
from ruichat.truth.tile_folders import LabelledTiles, Strings

LISTING = "slides.csv"

PATIENT = "patient"
"""Column of the listing that tells slides of one patient."""

CELLS = 8
"""Of a tile's side: outlines are drawn on cells so large, in memory that no outline makes grow."""

MIN_SHARE = 0.5
"""A tile has a label if more of it than this share is outlined as such. Ours."""

_BATCH = 64
"""Tiles read at once."""

_BOUNDED = ("mirax", "leica")
"""Formats in which QuPath counts positions from the scanned area's corner, we from the file's."""

Tick = Callable[[int, int], None]
Rows = Int64[NDArray[np.int64], " n"]


class SlidesConfig(Config):
    """A folder of slides on which tissue is outlined and named.

    Its `slides.csv` has the columns slide, annotations (a GeoJSON file) and, if known, patient.
    """

    name: str
    folder: str
    """Path of the folder, or of slides.csv in it, under the data folder or absolute."""
    mpp: float | None = Field(default=None, ge=MIN_MPP, le=MAX_MPP)
    """Micrometres per level-0 pixel, used only where a slide states none."""
    max_tiles: int = Field(default=100, gt=0)
    """Tiles of a label that a slide gives at most; of more, so many are drawn."""
    seed: Seed = 0
    """Of that drawing."""
    leave_out: tuple[str, ...] = ()
    """Classes that aren't learned, as QuPath's Ignore*; nor is any label that they cover."""


@dataclass(frozen=True, slots=True)
class AnnotatedSlide:
    """A line of the listing, looked at.

    Attributes:
        name: as the listing has it.
        path: of the slide.
        annotations: name of their file.
        group: patient, or the slide itself.
        found: what is outlined on it.
    """

    name: str
    path: Path
    annotations: str
    group: str
    found: Annotations

    @property
    def labels(self) -> set[str]:
        """Of its outlines."""
        return {outline.label for outline in self.found.outlines}


def look_at_slides(
    config: SlidesConfig, root: Path, tick: Tick | None = None
) -> list[AnnotatedSlide]:
    """Open each slide that the listing names and read its annotations, but none of its tissue.

    Args:
        config: where the slides lie.
        root: relative folders lie under it.
        tick: told how many slides are looked at, and of how many.

    Raises:
        InputError: the listing or a file that it names is missing or can't be right, or a slide
            states no resolution.
    """
    looked_at: list[AnnotatedSlide] = []
    rows = _listing(config, root)
    for row, slide_path, annotations_path in rows:
        with _open(config, row["slide"], slide_path) as slide:
            found = read_annotations(annotations_path, width0=slide.width0, height0=slide.height0)
        name, group = row["slide"], row.get(PATIENT) or row["slide"]
        looked_at.append(AnnotatedSlide(name, slide_path, row["annotations"], group, found))
        if tick is not None:
            tick(len(looked_at), len(rows))
    return looked_at


def groups_by_label(config: SlidesConfig, slides: Sequence[AnnotatedSlide]) -> dict[str, set[str]]:
    """Labels that are to be learned, each with the groups that have it."""
    groups: dict[str, set[str]] = {}
    for one in slides:
        for label in one.labels - set(config.leave_out):
            groups.setdefault(label, set()).add(one.group)
    return {label: groups[label] for label in sorted(groups)}


def read_slides(
    config: SlidesConfig,
    slides: Sequence[AnnotatedSlide],
    card: EncoderCard,
    tick: Tick | None = None,
) -> LabelledTiles:
    """Read the tiles that lie in outlines: of an extraction's grid, so on tissue and unspoilt.

    Args:
        config: how many tiles are taken.
        slides: as they were looked at.
        card: of the encoder, which says how tiles are cut.
        tick: told how many slides are read, and of how many.

    Raises:
        InputError: a slide is damaged, too coarse or without tissue, or a label has outlines but
            no tile.
    """
    rgb: list[NDArray[np.uint8]] = []
    names: list[tuple[str, str, int]] = []
    notes = _left_out(slides)
    num_found = num_small = 0
    for rank, one in enumerate(slides):
        with _open(config, one.name, one.path) as slide:
            _, grid, warnings = lay_tiles(slide, ExtractConfig.for_encoder(card))
            label = label_tiles(grid, slide, one.found.outlines, config.leave_out)
            rows = _draw(label, config.max_tiles, (config.seed, zlib.crc32(one.name.encode())))
            rgb.append(_read(slide, grid, rows))
        names += [(str(label[row]), one.group, rank) for row in rows]
        num_found += int((label != "").sum())
        num_small += sum(o.area0 <= MIN_SHARE * grid.span0**2 for o in one.found.outlines)
        # By its place alone: names of slides can be those of patients.
        notes += [f"slide {rank + 1}: {said}" for said in (*slide.warnings, *warnings)]
        if slide.vendor in _BOUNDED:
            notes.append(
                f"slide {rank + 1}: QuPath counts from the corner of the scanned area, which may "
                "lie elsewhere than the file's; see that its outlines lie on their tissue"
            )
        if tick is not None:
            tick(rank + 1, len(slides))
    without = set(groups_by_label(config, slides)) - {label for label, _, _ in names}
    _check_tiles(config, card, without)
    if num_found > len(names):
        notes.append(
            f"{len(names)} of {num_found} outlined tiles were drawn, at most {config.max_tiles} "
            "of a label from a slide"
        )
    if num_small:
        notes.append(f"{num_small} outlines are smaller than half a tile")
    label, group, number = (np.array(part) for part in zip(*names, strict=True))
    return LabelledTiles(np.concatenate(rgb), label, group, number.astype(np.int64), tuple(notes))


def _left_out(slides: Sequence[AnnotatedSlide]) -> list[str]:
    """What of the files counts for nothing, and what they don't say."""
    skipped = sum((one.found.skipped for one in slides), Counter[str]())
    notes = [f"left out: {num} {why}" for why, num in sorted(skipped.items())]
    if all(one.group == one.name for one in slides):
        notes.append(f"{LISTING} names no patients: each slide is taken for a patient of its own")
    return notes


def label_tiles(
    grid: TileGrid, slide: Slide, outlines: Sequence[Annotation], leave_out: Sequence[str] = ()
) -> Strings:
    """The label that most of each tile is outlined as; "" where there is none.

    Where outlines overlap, the smaller one counts; what is left out takes away from others.
    """
    labels = ["", *sorted({one.label for one in outlines} - set(leave_out))]
    downsample = grid.span0 / CELLS
    width, height = (int(np.ceil(side / downsample)) for side in (slide.width0, slide.height0))
    drawn = np.zeros((height, width), np.int16)
    for one in sorted(outlines, key=lambda one: -one.area0):
        box, inside = fill_rings(one.rings0, downsample, (width, height))
        cells = drawn[box.y : box.y + box.height, box.x : box.x + box.width]
        cells[inside] = 0 if one.label in leave_out else labels.index(one.label)
    found = np.zeros(len(grid), np.int64)
    for index in range(1, len(labels)):
        share = mask_fractions(drawn == index, downsample, grid.xy0, grid.span0)
        found[share > MIN_SHARE] = index
    return np.array(labels)[found]


def _listing(config: SlidesConfig, root: Path) -> list[tuple[dict[str, str], Path, Path]]:
    """Lines of the listing, each with the paths of its slide and annotations, which are there."""
    folder = root / config.folder
    if folder.name == LISTING:
        folder = folder.parent
    found: list[tuple[dict[str, str], Path, Path]] = []
    for row in read_listing(folder / LISTING, ("slide", "annotations"), if_there=(PATIENT,)):
        slide, annotations = (
            path_inside(folder, row[column], LISTING) for column in ("slide", "annotations")
        )
        for path in (slide, annotations):
            if not path.exists():
                raise InputError(
                    f"{LISTING} names {str(path.relative_to(folder))!r}, which isn't in {folder}",
                    hint="Restore the file, or take its line out",
                )
        if any(slide == other for _, other, _ in found):
            raise InputError(
                f"{LISTING} names {row['slide']!r} twice",
                hint="Put all its annotations into one file",
            )
        found.append((row, slide, annotations))
    return found


def _open(config: SlidesConfig, name: str, path: Path) -> Slide:
    try:
        return open_slide(path, mpp=config.mpp)
    except MissingMppError as error:
        raise InputError(
            f"{name}: {error.message}",
            hint="Give it as site.slides.mpp, for example 0.25 (usual at 40x) or 0.5 (20x)",
        ) from error


def _draw(label: Strings, most: int, seed: tuple[int, int]) -> Rows:
    """Rows of tiles with a label, in their order; of each label so many by chance."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(label == one))[:most] for one in np.unique(label) if one]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *rows]))


def _read(slide: Slide, grid: TileGrid, rows: Rows) -> UInt8[NDArray[np.uint8], "n h w 3"]:
    rgb = np.empty((len(rows), grid.tile_px, grid.tile_px, 3), np.uint8)
    threads = max(1, min(MAX_READERS, len(usable_cores())))
    for first in range(0, len(rows), _BATCH):
        part = slice(first, first + _BATCH)
        rgb[part] = slide.read_tiles(
            grid.xy0[rows[part]], span0=grid.span0, tile_px=grid.tile_px, num_threads=threads
        )
    return rgb


def _check_tiles(config: SlidesConfig, card: EncoderCard, without: set[str]) -> None:
    """Refuse labels that no tile got.

    Raises:
        InputError: naming them.
    """
    if without:
        side = card.tile_px * card.tile_mpp
        raise InputError(
            f"{config.name}: no tile on tissue lies mostly in an outline of "
            f"{', '.join(sorted(without))}; tiles are {side:g} um a side",
            hint="Outline larger areas, or name the class under site.slides.leave_out",
        )
