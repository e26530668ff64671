"""Slides through OpenSlide: the scanner vendors' formats, tiled TIFF and DICOM series."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openslide
from jaxtyping import UInt8

from ruichat.errors import InputError
from ruichat.slide.alpha import over_white
from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import Box, to_level0_xy
from ruichat.slide.mpp import ome_mpp

SERIES = "dicom.SeriesInstanceUID"

STRIP_TILES = 8
"""Neighbouring tiles read in one go: each compressed tile of the file is decoded once."""


class OpenSlideReader:
    """One slide held open by OpenSlide, whose handles may be read from several threads."""

    def __init__(self, path: Path, handle: openslide.OpenSlide) -> None:
        self._handle = handle
        self._path = path
        properties = handle.properties
        self.vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
        self.level_sizes = tuple(handle.level_dimensions)
        self._downsamples = tuple(handle.level_downsamples)
        self.file_mpp = _resolution(properties)
        self.objective = _number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, or every file of a DICOM series, a MIRAX or a Hamamatsu slide."""
        return _companions(self._path, self.vendor, self._handle.properties)

    def strip_tiles(self, level: int) -> int:
        """Each call decodes whole compressed tiles again: neighbours had better share one."""
        return STRIP_TILES

    def read_into(self, level: int, box: Box, out: UInt8[Bytes, "h w 3"]) -> None:
        """Fill `out` with the pixels of a box of one level."""
        location = to_level0_xy(box.x, box.y, self._downsamples[level])
        image = self._handle.read_region(location, level, (box.width, box.height))
        out[:] = over_white(np.asarray(image))

    def close(self) -> None:
        """Release the file."""
        self._handle.close()


def open_reader(path: Path) -> OpenSlideReader | None:
    """Open a file with OpenSlide, or return None where it isn't one of its formats.

    Raises:
        InputError: it is one of its formats, but damaged.
    """
    _refuse_outside_references(path)
    try:
        return OpenSlideReader(path, openslide.OpenSlide(path))
    except openslide.OpenSlideUnsupportedFormatError:
        return None
    except openslide.OpenSlideError as error:
        raise InputError(
            f"{path.name} is damaged or incomplete ({error})",
            hint="Copy or export it from the scanner again",
        ) from error


def _refuse_outside_references(path: Path) -> None:
    """Hamamatsu index files name image files; one with `../` would read another folder."""
    if path.suffix.lower() not in {".vms", ".vmu"}:
        return
    text = path.read_bytes()[:1_000_000].decode("latin-1")
    values = [line.partition("=")[2].strip() for line in text.splitlines()]
    if any(".." in value or "/" in value or "\\" in value for value in values):
        raise InputError(
            f"{path.name} names files outside its own folder",
            hint="Give a slide whose files lie together",
        )


def _resolution(properties: Mapping[str, str]) -> tuple[float, float] | None:
    x = _number(properties.get(openslide.PROPERTY_NAME_MPP_X))
    y = _number(properties.get(openslide.PROPERTY_NAME_MPP_Y))
    stated = ome_mpp(properties.get(openslide.PROPERTY_NAME_COMMENT, ""))
    return (x, y) if stated is None and x is not None and y is not None else stated


def _number(text: str | None) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        value = float(text)  # type: ignore[arg-type]
        return value if value > 0 else None
    return None


def _companions(path: Path, vendor: str, properties: Mapping[str, str]) -> tuple[Path, ...]:
    folder = path.parent
    if vendor == "dicom" and SERIES in properties:
        uid = re.compile(rb"(?<![0-9.])%s(?![0-9.])" % re.escape(properties[SERIES].encode()))
        return tuple(p for p in sorted(folder.glob("*.dcm")) if uid.search(_head(p))) or (path,)
    if vendor == "mirax":
        return (path, *sorted(p for p in (folder / path.stem).glob("*") if p.is_file()))
    if path.suffix.lower() in {".vms", ".vmu"}:
        text = path.read_bytes().decode("latin-1")
        names = {line.partition("=")[2].strip() for line in text.splitlines()}
        return (path, *sorted(p for p in folder.iterdir() if p.name in names))
    return (path,)


def _head(path: Path, num_bytes: int = 1 << 20) -> bytes:
    with path.open("rb") as file:
        return file.read(num_bytes)
