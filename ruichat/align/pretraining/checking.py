"""What is wrong with files of tiles, found before a training runs for days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruichat.align.pretraining.reading import Fault, read_listing
from ruichat.align.pretraining.tiles import PATCHES, PatchFile, TileSourceConfig

LEAST_PX = 32
"""Sides below are no tiles of tissue but icons or slips of a cutter."""


@dataclass
class TileReport:
    """What a source holds.

    Attributes:
        num_files: that its lines name.
        num_tiles: that an epoch shows.
        sizes: files by the size of their tiles, "224 x 224".
        faults: all that is wrong.
    """

    num_files: int = 0
    num_tiles: int = 0
    sizes: Counter[str] = field(default_factory=Counter[str])
    faults: list[Fault] = field(default_factory=list[Fault])


def check_tiles(
    source: TileSourceConfig, progress: Callable[[int, int], None] | None = None
) -> TileReport:
    """Look at every line of a source and at every file that it names.

    Pixels of HDF5 files aren't read, those of images only as far as their header.

    Args:
        source: what to look at.
        progress: called with files done and files in all.

    Raises:
        InputError: the manifest, list or folder can't be read at all.
    """
    listing = read_listing(source)
    report = TileReport(faults=list(listing.faults))
    report.num_files = len(listing.patches) + len(listing.images)
    report.num_tiles = len(listing.tiles())
    for done, (line, found) in enumerate([*listing.patches, *listing.images], 1):
        where = source.path if line else found if isinstance(found, Path) else found.path
        look = _patch_file if isinstance(found, PatchFile) else _image_file
        for what, remedy in look(found, report):  # type: ignore[arg-type]
            report.faults.append(Fault(where, line or None, what, remedy))
        if progress is not None:
            progress(done, report.num_files)
    return report


def _patch_file(file: PatchFile, report: TileReport) -> Iterator[tuple[str, str]]:
    import h5py

    if not file.path.is_file():
        yield f"{file.path} isn't there", "Restore the file, or set `root` to its folder"
        return
    try:
        with h5py.File(file.path, "r") as content:
            patches: Any = content.get(PATCHES)
            shape, dtype = getattr(patches, "shape", None), str(getattr(patches, "dtype", ""))
    except OSError as error:
        why = str(error).splitlines()[0][:120]
        yield f"{file.path} can't be read as HDF5 ({why})", "Copy or make it again"
        return
    if shape is None:
        yield f"{file.path} has no dataset {PATCHES!r}", f"Store the tiles as {PATCHES!r}"
    elif dtype != "uint8" or len(shape) != 4 or shape[3] != 3:
        found = f"{dtype} {list(shape)}"
        yield f"{PATCHES!r} in {file.path} is {found}", "Store RGB bytes as uint8 [n,h,w,3]"
    elif shape[0] == 0 and file.quota:
        yield f"{file.path} is empty, and patch_count {file.quota}", "Take the line out"
    else:
        yield from _size(file.path, shape[2], shape[1], report)


def _image_file(path: Path, report: TileReport) -> Iterator[tuple[str, str]]:
    from PIL import Image

    if not path.is_file():
        yield f"{path} isn't there", "Restore the file, or set `root` to its folder"
        return
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        why = str(error).splitlines()[0][:120]
        yield f"{path} can't be read as an image ({why})", "Take the line out"
        return
    yield from _size(path, width, height, report)


def _size(path: Path, width: int, height: int, report: TileReport) -> Iterator[tuple[str, str]]:
    report.sizes[f"{width} x {height}"] += 1
    if min(width, height) < LEAST_PX:
        yield f"{path} has tiles of {width} x {height} px", f"Cut tiles from {LEAST_PX} px"
