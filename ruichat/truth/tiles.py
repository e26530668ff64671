"""Labelled tiles for the encoder: real sources, split by source group, and phantom fields.

Every source gives 224-px windows with a target over `histology.CLASSES`. Where a mask says only
what is tumour, the target is partial: the share of tumour is known, the rest isn't.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ruichat.config import Config
from ruichat.errors import InputError
from ruichat.histology import CLASSES, KEYS, MALIGNANT
from ruichat.slide.phantom import NO_TISSUE, PhantomConfig, draw_phantom

WINDOW_PX = 224
Split = Literal["train", "val", "test"]
MALIGNANT_ROW = np.array([key in MALIGNANT for key in KEYS])


class SourceConfig(Config):
    """One folder of tiles with `labels.csv`, or of images with masks."""

    name: str
    labels: dict[str, str]
    """The file's label -> tissue class. A folder of `images` and `masks` without labels.csv has
    the one label ''."""
    weight: float = 1.0
    """How often the encoder sees this source, beside others of its size."""
    rest: str | None = None
    """Class of what a mask leaves out; None makes the target partial."""
    group: str = ""
    """Regular expression whose first group in the file name is the source group."""
    group_column: str = ""
    """Column of labels.csv that names the source group."""
    split_column: str = ""
    """Column whose value 'val' marks the groups held out for the final test."""
    block: int = 0
    """Groups are runs of this many consecutive numbers: files of one patient lie together."""
    test_fraction: float = 0.25
    """Share of groups held out for the final test, where the source doesn't say."""
    shrink: int = 1
    """Whole-number reduction that brings the images near 0.5 µm per pixel."""
    has_masks: bool = False
    num_windows: int = 1
    """Windows cut from each image that is larger than one."""


@dataclass(frozen=True, slots=True)
class TilePool:
    """Windows of one or more sources in memory.

    Attributes:
        rgb: uint8 [n,224,224,3].
        target: float32 [n,c] over `histology.CLASSES`; rows sum to 1.
        partial: bool [n]; only the malignant share of the row is known.
        source: source name per window.
        group: source group per window; no group is in two splits.
        split: "train", "val" (calibration) or "test" per window.
    """

    rgb: NDArray[np.uint8]
    target: NDArray[np.float32]
    partial: NDArray[np.bool_]
    source: NDArray[Any]
    group: NDArray[Any]
    split: NDArray[Any]

    def where(self, keep: NDArray[np.bool_]) -> TilePool:
        """The windows for which `keep` holds."""
        return TilePool(
            self.rgb[keep],
            self.target[keep],
            self.partial[keep],
            self.source[keep],
            self.group[keep],
            self.split[keep],
        )


def join_pools(pools: list[TilePool]) -> TilePool:
    """One pool holding all windows in order."""
    return TilePool(
        np.concatenate([p.rgb for p in pools]),
        np.concatenate([p.target for p in pools]),
        np.concatenate([p.partial for p in pools]),
        np.concatenate([p.source for p in pools]),
        np.concatenate([p.group for p in pools]),
        np.concatenate([p.split for p in pools]),
    )


def even_weights(
    source: NDArray[Any], main: NDArray[np.int64], emphasis: dict[str, float] | None = None
) -> NDArray[np.float64]:
    """How often to draw each window: sources by the root of their size, classes of one alike.

    Args:
        source: source name per window, [n].
        main: class index per window, [n].
        emphasis: factor of each source; 1 by default.

    Returns:
        [n], sums to 1.
    """
    weight = np.zeros(len(source))
    for name in np.unique(source):
        rows = source == name
        labels = np.unique(main[rows])
        share = (emphasis or {}).get(str(name), 1.0) * np.sqrt(rows.sum()) / len(labels)
        for label in labels:
            cell = rows & (main == label)
            weight[cell] = share / cell.sum()
    return weight / weight.sum()


def hash_fraction(text: str) -> float:
    """A number in 0..1 that depends on the text alone: splits never move between runs."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def assign_split(
    config: SourceConfig, row: dict[str, str], group: str, val_fraction: float
) -> Split:
    """Split of a group: the source's own test set where it has one, else by hash."""
    if config.split_column:
        test = row[config.split_column] == "val"
    else:
        test = hash_fraction(f"{config.name}/{group}/test") < config.test_fraction
    if test:
        return "test"
    return "val" if hash_fraction(f"{config.name}/{group}/val") < val_fraction else "train"


def _group(config: SourceConfig, row: dict[str, str]) -> str:
    if config.group_column:
        return row[config.group_column]
    found = re.search(config.group, row["file"])
    if found is None:
        raise InputError(f"{config.name}: no source group in file name {row['file']!r}")
    if config.block:
        number = int(found.group(found.lastindex or 1))
        return f"{row['file'][: found.start(found.lastindex or 1)]}{number // config.block}"
    return found.group(1)


def _windows(
    size: tuple[int, int], count: int, rng: np.random.Generator
) -> Iterator[tuple[int, int]]:
    height, width = size
    if count == 1:
        yield (height - WINDOW_PX) // 2, (width - WINDOW_PX) // 2
        return
    for _ in range(count):
        yield (
            int(rng.integers(0, height - WINDOW_PX + 1)),
            int(rng.integers(0, width - WINDOW_PX + 1)),
        )


def _read(path: Path, shrink: int, resample: Image.Resampling) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB" if resample is Image.Resampling.BOX else "L")
    except OSError as error:
        raise InputError(f"{path.name} can't be read: {error}") from error
    if shrink > 1:
        rgb = rgb.resize((rgb.width // shrink, rgb.height // shrink), resample)
    if min(rgb.size) < WINDOW_PX:
        raise InputError(
            f"{path.name} has {rgb.width} x {rgb.height} px after reduction by {shrink}; "
            f"a window takes {WINDOW_PX}",
            hint="Lower the source's shrink",
        )
    return np.asarray(rgb)


def _listing(config: SourceConfig, folder: Path) -> list[dict[str, str]]:
    """Rows with at least `file` and `label`."""
    listing = folder / "labels.csv"
    if listing.is_file():
        with listing.open(encoding="utf-8") as file:
            return list(csv.DictReader(file))
    images = sorted((folder / "images").glob("*.jpg")) if config.has_masks else []
    if not images:
        raise InputError(
            f"no labels.csv for source {config.name!r} in {folder.parent.name}/",
            hint="Give the folder of the training data with --data",
        )
    return [{"file": f"images/{path.name}", "label": ""} for path in images]


def read_source(config: SourceConfig, root: Path, *, val_fraction: float = 0.12) -> TilePool:
    """Read one source into memory.

    Args:
        root: folder that holds `tiles/<name>`.
        val_fraction: share of the groups outside the test set kept for calibration.

    Raises:
        InputError: a file, label or mask is missing or doesn't fit, or a group is in two splits.
    """
    folder = root / "tiles" / config.name
    rng = np.random.default_rng(int(hash_fraction(config.name) * 2**31))
    rgb: list[NDArray[np.uint8]] = []
    target: list[NDArray[np.float32]] = []
    names: list[tuple[str, str]] = []
    split_of: dict[str, Split] = {}
    for row in _listing(config, folder):
        if row["label"] not in config.labels:
            raise InputError(f"{config.name}: label {row['label']!r} is in no class")
        index = KEYS.index(config.labels[row["label"]])
        image = _read(folder / row["file"], config.shrink, Image.Resampling.BOX)
        mask = None
        if config.has_masks:
            mask_path = folder / "masks" / Path(row["file"]).name
            mask = _read(mask_path, config.shrink, Image.Resampling.NEAREST) > 127
            if mask.shape != image.shape[:2]:
                raise InputError(f"{config.name}: {row['file']} and its mask differ in size")
        group = _group(config, row)
        split = assign_split(config, row, group, val_fraction)
        if split_of.setdefault(group, split) != split:
            raise InputError(
                f"{config.name}: group {group!r} is in two splits, {split_of[group]} and {split}",
                hint="Group files so that what shares a patient shares a split",
            )
        for y, x in _windows(image.shape[:2], config.num_windows, rng):
            rgb.append(image[y : y + WINDOW_PX, x : x + WINDOW_PX])
            share = 1.0
            if mask is not None:
                share = float(mask[y : y + WINDOW_PX, x : x + WINDOW_PX].mean())
            line = np.zeros(len(KEYS), np.float32)
            if config.rest is not None:
                line[KEYS.index(config.rest)] += 1 - share
                line[index] += share
            elif mask is not None:
                line[index] = share
                line[~MALIGNANT_ROW] = (1 - share) / int((~MALIGNANT_ROW).sum())
            else:
                line[index] = 1
            target.append(line)
            names.append((group, split))
    n = len(rgb)
    groups, splits = zip(*names, strict=True)
    return TilePool(
        np.stack(rgb),
        np.stack(target),
        np.full(n, config.has_masks and config.rest is None),
        np.full(n, config.name),
        np.array(groups),
        np.array(splits),
    )


def _draw_windows(
    seed: int, count: int, side_px: int
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.float32]]]:
    phantom = draw_phantom(PhantomConfig(seed=seed, width0=side_px, height0=side_px))
    rng = np.random.default_rng(seed)
    rgb: list[NDArray[np.uint8]] = []
    target: list[NDArray[np.float32]] = []
    for y, x in _windows((side_px, side_px), 4 * count, rng):
        window = phantom.classes[y : y + WINDOW_PX, x : x + WINDOW_PX]
        tissue = window[window != NO_TISSUE]
        if tissue.size < 0.6 * window.size:
            continue
        share = np.bincount(tissue, minlength=len(CLASSES)).astype(np.float32)
        rgb.append(phantom.rgb[y : y + WINDOW_PX, x : x + WINDOW_PX])
        target.append(share / share.sum())
        if len(rgb) == count:
            break
    return rgb, target


def draw_pool(
    seeds: range, *, split: Split, windows_per_phantom: int, side_px: int = 1536
) -> TilePool:
    """Windows of drawn fields, at 0.5 µm per pixel, with the exact share of each class."""
    rgb: list[NDArray[np.uint8]] = []
    target: list[NDArray[np.float32]] = []
    group: list[str] = []
    with ProcessPoolExecutor() as pool:
        count, side = [windows_per_phantom] * len(seeds), [side_px] * len(seeds)
        for seed, (windows, shares) in zip(
            seeds, pool.map(_draw_windows, seeds, count, side), strict=True
        ):
            rgb += windows
            target += shares
            group += [f"phantom-{seed}"] * len(windows)
    n = len(rgb)
    return TilePool(
        np.stack(rgb),
        np.stack(target),
        np.zeros(n, bool),
        np.full(n, "phantom"),
        np.array(group),
        np.full(n, split),
    )
