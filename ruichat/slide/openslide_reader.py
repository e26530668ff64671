"""Slides through OpenSlide: the scanner vendors' formats, tiled TIFF and DICOM series."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import openslide
from jaxtyping import UInt8

from ruichat.errors import InputError
from ruichat.slide.alpha import over_white
from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import Box, surrounding, to_level0_xy
from ruichat.slide.readers import PictureKind
from ruichat.slide.saying import say
from ruichat.slide.sharing import share_out

SERIES = "dicom.SeriesInstanceUID"

PICTURE_PX = 2_000
"""Longer side of a label or macro image that is handed out."""

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
        self.warnings: tuple[str, ...] = ()
        self._downsamples = tuple(handle.level_downsamples)
        self.file_mpp = _resolution(properties)
        self.objective = _number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, or every file of a DICOM series, a MIRAX or a Hamamatsu slide."""
        return _companions(self._path, self.vendor, self._handle.properties)

    @property
    def icc_profile(self) -> bytes | None:
        """ICC profile of the pixels."""
        profile = self._handle.color_profile
        return None if profile is None else profile.tobytes()

    def picture(self, kind: PictureKind) -> Bytes | None:
        """RGB of the label or the macro image."""
        image = self._handle.associated_images.get(kind)
        if image is None:
            return None
        image.thumbnail((PICTURE_PX, PICTURE_PX))
        return over_white(np.asarray(image.convert("RGBA")))

    def read_many(
        self, level: int, boxes: Sequence[Box], outs: Sequence[Bytes], *, num_threads: int = 1
    ) -> None:
        """Fill each of `outs` with the pixels of a box; neighbours in a row share one call."""

        def read(run: range) -> None:
            if len(run) == 1:
                outs[run[0]][:] = self._read(level, boxes[run[0]])
                return
            strip = surrounding(boxes[run.start : run.stop])
            pixels = self._read(level, strip)
            for i in run:
                x, y = boxes[i].x - strip.x, boxes[i].y - strip.y
                outs[i][:] = pixels[y : y + boxes[i].height, x : x + boxes[i].width]

        share_out(list(strips(boxes)), read, num_threads)

    def _read(self, level: int, box: Box) -> UInt8[Bytes, "h w 3"]:
        location = to_level0_xy(box.x, box.y, self._downsamples[level])
        image = self._handle.read_region(location, level, (box.width, box.height))
        return over_white(np.asarray(image))

    def close(self) -> None:
        """Release the file."""
        self._handle.close()


def strips(boxes: Sequence[Box]) -> Iterator[range]:
    """Runs of at most `STRIP_TILES` boxes that touch within one row."""
    first = 0
    for i in range(1, len(boxes) + 1):
        if i < len(boxes) and i - first < STRIP_TILES:
            one, following = boxes[i - 1], boxes[i]
            in_row = (one.y, one.height) == (following.y, following.height)
            if in_row and 0 < following.x - one.x <= one.width:
                continue
        yield range(first, i)
        first = i


def open_reader(path: Path) -> OpenSlideReader | None:
    """Open a file with OpenSlide, or return None where it isn't one of its formats.

    Raises:
        InputError: it is one of its formats, but damaged.
    """
    try:
        return OpenSlideReader(path, openslide.OpenSlide(path))
    except openslide.OpenSlideUnsupportedFormatError:
        return None
    except openslide.OpenSlideError as error:
        raise InputError(
            f"{path.name} is damaged or incomplete ({say(error)})",
            hint="Copy or export it from the scanner again",
        ) from error


def _resolution(properties: Mapping[str, str]) -> tuple[float, float] | None:
    x = _number(properties.get(openslide.PROPERTY_NAME_MPP_X))
    y = _number(properties.get(openslide.PROPERTY_NAME_MPP_Y))
    return (x, y) if x is not None and y is not None else None


def _number(text: str | None) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        value = float(text)  # type: ignore[arg-type]
        return value if value > 0 else None
    return None


def _companions(path: Path, vendor: str, properties: Mapping[str, str]) -> tuple[Path, ...]:
    folder = path.parent
    if vendor == "dicom" and SERIES in properties:
        uid = re.compile(rb"(?<![0-9.])%s(?![0-9.])" % re.escape(properties[SERIES].encode()))
        near = (p for p in sorted(folder.iterdir()) if p.suffix.lower() == ".dcm")
        return tuple(p for p in near if uid.search(_head(p))) or (path,)
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
