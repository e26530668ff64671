"""Folders of labelled tiles: what `labels.csv` names, read as windows of an encoder's size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, field_validator

from ruichat.config import Config
from ruichat.errors import InputError
from ruichat.truth.listing import path_inside, read_listing

Strings = NDArray[Any]
"""Text labels; their dtype holds the length of the longest, so no one dtype fits all."""

LISTING = "labels.csv"

_MOST_DIGITS = 18
"""Of a file's number, which is kept in 64 bits."""

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


class FolderConfig(Config):
    """A folder of tiles with `labels.csv` whose labels need not be classes of ours."""

    name: str
    folder: str
    """Path of the folder, under the data folder or absolute."""
    group_column: str = ""
    """Column of labels.csv that names the source group; without it every file is its own."""
    number: str = ""
    """Regular expression whose first group in the file name is the file's number; files with
    neighbouring numbers are taken to be neighbours on the glass."""
    block: int = Field(default=20, gt=0)
    """Neighbouring numbers that make up one source group."""
    mpp: float | None = Field(default=None, gt=0)
    """Micrometres per pixel; the encoder gets tiles at its own. None takes them as they are."""
    shrink: int = Field(default=1, gt=0)
    """Whole-number reduction, where the resolution is only roughly known."""
    max_windows: int = Field(default=1, gt=0)
    """Windows cut from an image that is larger than one."""
    every: int = Field(default=1, gt=0)
    """Only every n-th file is read; for a first look."""

    @field_validator("number")
    @classmethod
    def _number_has_a_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        if pattern and groups < 1:
            raise ValueError(rf"{pattern!r} has no group around the number, as in '_(\d+)'")
        return pattern


@dataclass(frozen=True, slots=True)
class LabelledTiles:
    """Tiles with a source's own labels.

    Attributes:
        rgb: uint8 [n,h,w,3].
        label: as the source has it.
        group: source group, such as the patient.
        number: the file's number, or its rank where it has none.
        notes: what was done to images that didn't fit, and what was left out.
    """

    rgb: NDArray[np.uint8]
    label: Strings
    group: Strings
    number: NDArray[np.int64]
    notes: tuple[str, ...]


def read_folder(
    config: FolderConfig, root: Path, *, tile_px: int, tile_mpp: float
) -> LabelledTiles:
    """Read `labels.csv` (columns file, label) and the tiles it names.

    Args:
        config: where the folder lies and how its files are grouped.
        root: relative folders lie under it.
        tile_px: side of the windows.
        tile_mpp: their resolution, micrometres per pixel.

    Raises:
        InputError: the listing or a file is missing, leaves the folder, or can't be read.
    """
    folder = root / config.folder
    rows = _listing(config, folder)
    rgb: list[NDArray[np.uint8]] = []
    names: list[tuple[str, str, int]] = []
    num_small = 0
    for rank, row in enumerate(rows):
        image = _open(folder, row["file"])
        scale = (config.mpp / tile_mpp if config.mpp else 1.0) / config.shrink
        if scale != 1.0:
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(
                size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
            )
        if min(image.size) < tile_px:
            num_small += 1
            grow = tile_px / min(image.size)
            size = (
                max(tile_px, round(image.width * grow)),
                max(tile_px, round(image.height * grow)),
            )
            image = image.resize(size, Image.Resampling.BICUBIC)
        number, group = _place(config, row, rank)
        for window in _windows(np.asarray(image), tile_px, config.max_windows):
            rgb.append(window)
            names.append((row["label"], group, number))
    label, group, number = (np.array(part) for part in zip(*names, strict=True))
    notes: tuple[str, ...] = ()
    if num_small:
        notes = (f"{num_small} images smaller than {tile_px} px were enlarged",)
    return LabelledTiles(np.stack(rgb), label, group, number.astype(np.int64), notes)


def read_labels(config: FolderConfig, root: Path) -> tuple[str, ...]:
    """Labels that a folder's `labels.csv` names, without opening a tile.

    Raises:
        InputError: the listing is missing or can't be read, or a file that it names isn't there.
    """
    folder = root / config.folder
    rows = _listing(config, folder)
    for rank, row in enumerate(rows):
        _place(config, row, rank)
        if not _inside(folder, row["file"]).is_file():
            raise InputError(
                f"labels.csv names {row['file']!r}, which isn't in {folder}",
                hint="Restore the file, or take its line out",
            )
    return tuple(sorted({row["label"] for row in rows}))


def _listing(config: FolderConfig, folder: Path) -> list[dict[str, str]]:
    group = [config.group_column] if config.group_column else []
    return read_listing(folder / LISTING, ("file", "label"), more=group)[:: config.every]


def _inside(folder: Path, name: str) -> Path:
    return path_inside(folder, name, LISTING, _SUFFIXES)


def _open(folder: Path, name: str) -> Image.Image:
    try:
        with Image.open(_inside(folder, name)) as image:
            return image.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{name} in {folder} can't be read as an image: {error}") from error


def _place(config: FolderConfig, row: dict[str, str], rank: int) -> tuple[int, str]:
    """Number and source group of a file."""
    number = rank
    if config.number:
        found = re.search(config.number, row["file"])
        if found is None:
            raise InputError(f"{config.name}: no number in file name {row['file']!r}")
        number = _whole_number(config.name, found.group(1))
    if config.group_column:
        return number, row[config.group_column]
    if config.number:
        return number, f"{row['label']}/{number // config.block}"
    return number, row["file"]


def _whole_number(name: str, digits: str | None) -> int:
    if digits is not None and len(digits) > _MOST_DIGITS:
        raise InputError(
            f"{name}: a number in a file name has {len(digits)} digits; at most {_MOST_DIGITS} "
            "are read",
            hint="Let the first group of `number` match the tile's own number, no date or UID",
        )
    try:
        return int(digits or "")
    except ValueError:
        raise InputError(
            f"{name}: {digits!r} in a file name is no whole number",
            hint="Let the first group of `number` match digits alone",
        ) from None


def _windows(image: NDArray[np.uint8], side: int, most: int) -> list[NDArray[np.uint8]]:
    """Up to `most` windows that don't overlap, from the middle outwards."""
    height, width = image.shape[:2]
    rows, columns = height // side, width // side
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    cells = [(y, x) for y in range(rows) for x in range(columns)]
    if most == 1:
        y, x = (height - side) // 2, (width - side) // 2
        return [image[y : y + side, x : x + side]]
    middle = ((rows - 1) / 2, (columns - 1) / 2)
    cells.sort(key=lambda cell: (abs(cell[0] - middle[0]) + abs(cell[1] - middle[1]), cell))
    return [
        image[top + y * side : top + (y + 1) * side, left + x * side : left + (x + 1) * side]
        for y, x in cells[:most]
    ]
