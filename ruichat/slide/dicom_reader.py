"""DICOM slides that OpenSlide refuses: frames off the grid, files in parts, other codings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ruichat.errors import InputError, UnsuitableSlideError
from ruichat.slide.arrays import Bytes, Ints
from ruichat.slide.dicom_codecs import choose_frame_decoder
from ruichat.slide.dicom_file import (
    WHOLE_SLIDE,
    DicomError,
    DicomFile,
    Frames,
    Places,
    is_dicom,
    positions,
    read_header,
)
from ruichat.slide.geometry import Box
from ruichat.slide.tile_levels import TileLevel, TileLevels

MAX_FILES = 1_000
"""Files of a folder that are looked at; a series has under fifty."""


class DicomReader:
    """A series of whole-slide DICOM files."""

    def __init__(self, path: Path, files: Sequence[DicomFile]) -> None:
        self.vendor = "dicom"
        levels = _by_level(files)
        self._open = {id(found): Frames(found) for level in levels for found in level}
        layouts = [_lay_out(level) for level in levels]
        self._levels = TileLevels([self._level(layout) for layout in layouts])
        self.level_sizes = self._levels.sizes
        self.file_mpp = _spacing(levels[0][0])
        self.objective = _objective(levels[0][0])
        self.icc_profile = _profile(levels[0][0])
        self.files = tuple(sorted(found.path for found in files))
        planes = layouts[0].num_planes
        self.warnings: tuple[str, ...] = ()
        if planes > 1:
            self.warnings = (f"of its {planes} focal planes the middle one is read",)

    def read_many(
        self, level: int, boxes: Sequence[Box], outs: Sequence[Bytes], *, num_threads: int = 1
    ) -> None:
        """Fill each of `outs` with the pixels of a box of one level."""
        self._levels.read_many(level, boxes, outs, num_threads)

    def close(self) -> None:
        """Release the files."""
        for frames in self._open.values():
            frames.close()

    def _level(self, layout: Layout) -> TileLevel:
        decoders = [choose_frame_decoder(found) for found in layout.files]
        frames = [self._open[id(found)] for found in layout.files]

        def decode(index: int) -> Bytes:
            part = int(layout.part[index])
            return decoders[part](frames[part].read(int(layout.frame[index])))

        return TileLevel(layout.size, layout.covering(), decode, is_whole=False)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the frames of one level lie.

    Attributes:
        files: that hold its frames.
        size: width and height of the level, pixels.
        tile: width and height of a frame, pixels.
        x: left of each frame, pixels, [n].
        y: top of each frame, pixels, [n].
        part: number of the file that holds it, [n].
        frame: its number in that file, [n].
        num_planes: focal planes in the files, of which one is laid out.
    """

    files: Sequence[DicomFile]
    size: tuple[int, int]
    tile: tuple[int, int]
    x: Ints
    y: Ints
    part: Ints
    frame: Ints
    num_planes: int

    def covering(self) -> Callable[[Box], Iterable[tuple[int, Box]]]:
        """Which frames a box touches; those on the same rows of frames are found by bisection."""
        across, down = self.tile
        order = np.argsort(self.y, kind="stable")
        tops = self.y[order]

        def found(box: Box) -> Iterable[tuple[int, Box]]:
            first = np.searchsorted(tops, box.y - down, "right")
            last = np.searchsorted(tops, box.y + box.height, "left")
            near = order[first:last]
            x = self.x[near]
            for index in np.sort(near[(x > box.x - across) & (x < box.x + box.width)]):
                yield int(index), Box(int(self.x[index]), int(self.y[index]), across, down)

        return found


def open_reader(path: Path) -> DicomReader | None:
    """Open the series that a DICOM file is part of; None for files that aren't DICOM.

    Raises:
        InputError: it is damaged, or of a kind that isn't read.
        UnsuitableSlideError: it isn't a brightfield slide.
    """
    if not is_dicom(path):
        return None
    try:
        first = read_header(path)
        if first.data.get("SOPClassUID") != WHOLE_SLIDE:
            raise UnsuitableSlideError(
                f"{path.name} is a DICOM file of another kind than a whole-slide image",
                hint="Give the folder of a VL Whole Slide Microscopy series",
            )
        return DicomReader(path, _series(first))
    except DicomError as error:
        raise InputError(
            f"{path.name} {error}", hint="Export the slide again, or as OME-TIFF"
        ) from error


def _series(first: DicomFile) -> list[DicomFile]:
    """The levels of the slide: all files of the series in the folder, but for label and macro."""
    found: dict[str, DicomFile] = {}
    series = first.data.SeriesInstanceUID
    paths = sorted(p for p in first.path.parent.iterdir() if p.suffix == first.path.suffix)
    if len(paths) > MAX_FILES:
        raise DicomError(f"lies in a folder of {len(paths)} files; {MAX_FILES} are looked at")
    for path in paths:
        if not path.is_file() or not is_dicom(path):
            continue
        file = first if path == first.path else read_header(path)
        data = file.data
        if data.get("SeriesInstanceUID") == series and file.kind == "VOLUME":
            found.setdefault(str(data.get("SOPInstanceUID")), file)
    if not found:
        raise DicomError("belongs to a series without an image of the slide")
    for file in found.values():
        _check_pixels(file)
    return list(found.values())


def _check_pixels(file: DicomFile) -> None:
    data = file.data
    bits, samples = int(data.get("BitsAllocated") or 0), int(data.get("SamplesPerPixel") or 0)
    if (bits, samples) != (8, 3):
        raise UnsuitableSlideError(
            f"{file.path.name} holds {bits}-bit pixels with {samples} "
            f"channel{'s' * (samples != 1)}; RuiChat reads brightfield DICOM in 8-bit colour",
            hint="Export the brightfield image as RGB",
        )
    paths = int(data.get("NumberOfOpticalPaths") or 1)
    if paths > 1:
        raise UnsuitableSlideError(
            f"{file.path.name} was taken through {paths} optical paths; RuiChat reads one",
            hint="Export the brightfield image alone",
        )


def _by_level(files: Sequence[DicomFile]) -> list[list[DicomFile]]:
    """Files of one level together, in the order of their frames, the finest level first."""
    levels: dict[tuple[int, int], list[DicomFile]] = {}
    for file in files:
        levels.setdefault(file.size, []).append(file)
    for (width, height), parts in levels.items():
        if len({part.tile for part in parts}) > 1:
            raise DicomError(f"has frames of several sizes in the level of {width} x {height} px")
        parts.sort(key=lambda part: int(part.data.get("ConcatenationFrameOffsetNumber") or 0))
    return [levels[size] for size in sorted(levels, key=lambda s: -s[0] * s[1])]


def _lay_out(files: Sequence[DicomFile]) -> Layout:
    part = np.repeat(np.arange(len(files)), [file.num_frames for file in files])
    frame = np.concatenate([np.arange(file.num_frames) for file in files])
    if any(file.is_sparse for file in files):
        found = [positions(file) for file in files]
    else:
        found = [_full(files[0], len(part))]
    x = np.concatenate([places.x for places in found])
    y = np.concatenate([places.y for places in found])
    z = np.concatenate([places.z for places in found])
    depths = np.unique(z)
    keep = z == depths[len(depths) // 2]
    across, down = files[0].tile
    width, height = files[0].size
    inside = (x > -across) & (y > -down) & (x < width) & (y < height)
    if not inside.all():
        raise DicomError("places frames outside its image")
    chosen = (x[keep], y[keep], part[keep], frame[keep])
    return Layout(files, (width, height), (across, down), *chosen, num_planes=len(depths))


def _full(file: DicomFile, num: int) -> Places:
    """Positions of frames that fill the level row by row, plane by plane."""
    across, down = file.tile
    columns, rows = -(-file.size[0] // across), -(-file.size[1] // down)
    planes = max(1, int(file.data.get("TotalPixelMatrixFocalPlanes") or 1))
    if num != columns * rows * planes:
        raise DicomError(
            f"has {num} frames; {columns * rows * planes} fill its image of "
            f"{file.size[0]} x {file.size[1]} px"
        )
    plane, tile = np.divmod(np.arange(num), columns * rows)
    row, column = np.divmod(tile, columns)
    return Places(column * across, row * down, plane)


def _spacing(file: DicomFile) -> tuple[float, float] | None:
    """Micrometres per pixel in x and y; DICOM states millimetres, rows first."""
    width, height = file.size
    try:
        shared = file.data.SharedFunctionalGroupsSequence[0]
        y, x = (float(v) * 1e3 for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    except (AttributeError, IndexError, ValueError, TypeError):
        x = float(file.data.get("ImagedVolumeWidth") or 0) * 1e3 / width
        y = float(file.data.get("ImagedVolumeHeight") or 0) * 1e3 / height
    return (x, y) if x > 0 and y > 0 else None


def _profile(file: DicomFile) -> bytes | None:
    try:
        return bytes(file.data.OpticalPathSequence[0].ICCProfile)
    except (AttributeError, IndexError, TypeError):
        return None


def _objective(file: DicomFile) -> float | None:
    try:
        power = float(file.data.OpticalPathSequence[0].ObjectiveLensPower)
    except (AttributeError, IndexError, ValueError, TypeError):
        return None
    return power if power > 0 else None
