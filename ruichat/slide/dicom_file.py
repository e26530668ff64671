"""One DICOM file of a whole-slide series: what its header says and where its frames lie.

Source:
    DICOM PS3.3 C.8.12 (VL Whole Slide Microscopy), PS3.5 A.4 (encapsulated frames).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ruichat.slide.arrays import Ints
from ruichat.slide.geometry import MAX_SIDE0
from ruichat.slide.open_file import OpenFile
from ruichat.slide.tiff_gate import MAX_TILE_PX

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
IMPLICIT = "1.2.840.10008.1.2"
NATIVE = frozenset({IMPLICIT, "1.2.840.10008.1.2.1"})
"""Transfer syntaxes whose frames lie in the file one after the other, uncompressed."""

ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
UNDEFINED = 0xFFFFFFFF

COLUMN_POSITION, ROW_POSITION = b"\x48\0\x1e\x02", b"\x48\0\x1f\x02"
Z_OFFSET = b"\x40\0\x4a\x07"
"""Tags of a frame's place: (0048,021E), (0048,021F), (0040,074A)."""

MAX_FRAMES = 4_000_000
MAX_FRAME_BYTES = 1 << 28

HEADER = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ImageType", "Rows", "Columns"),
    *("NumberOfFrames", "TotalPixelMatrixColumns", "TotalPixelMatrixRows", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored"),
    *("DimensionOrganizationType", "TotalPixelMatrixFocalPlanes", "NumberOfOpticalPaths"),
    *("ConcatenationFrameOffsetNumber", "SharedFunctionalGroupsSequence", "OpticalPathSequence"),
    *("ExtendedOffsetTable", "ImagedVolumeWidth", "ImagedVolumeHeight"),
)
"""All that is read of a header: no patient, no specimen, no label."""


class DicomError(Exception):
    """The file can't be what it claims; the message says why, as the rest of a sentence."""


@dataclass(frozen=True, slots=True)
class DicomFile:
    """The header of one file.

    Attributes:
        path: the file.
        data: the attributes named in `HEADER`.
        syntax: transfer syntax UID.
        pixels_at: position of the element that holds the pixels.
    """

    path: Path
    data: Any
    syntax: str
    pixels_at: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the level."""
        return int(self.data.TotalPixelMatrixColumns), int(self.data.TotalPixelMatrixRows)

    @property
    def tile(self) -> tuple[int, int]:
        """Width and height of a frame."""
        return int(self.data.Columns), int(self.data.Rows)

    @property
    def num_frames(self) -> int:
        """Frames in this file."""
        return int(self.data.get("NumberOfFrames") or 1)

    @property
    def is_sparse(self) -> bool:
        """Whether each frame has a position of its own."""
        return self.data.get("DimensionOrganizationType") != "TILED_FULL"

    @property
    def kind(self) -> str:
        """VOLUME for the pixels of a level, LABEL, OVERVIEW or THUMBNAIL for other images."""
        kinds = self.data.get("ImageType") or []
        return str(kinds[2]) if len(kinds) > 2 else ""


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_header(path: Path) -> DicomFile:
    """Read what is needed of a DICOM file, without its pixels.

    Raises:
        DicomError: the header is damaged or asks for absurd memory.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    try:
        syntax = str(read_file_meta_info(path).TransferSyntaxUID)
        if syntax in (DEFLATED, BIG_ENDIAN):
            raise DicomError(f"is written in transfer syntax {syntax}, which isn't read")
        with path.open("rb") as file:
            data = dcmread(file, stop_before_pixels=True, specific_tags=list(HEADER))
            found = DicomFile(path, data, syntax, file.tell())
        if data.get("SOPClassUID") == WHOLE_SLIDE:
            _check(found)
    except DicomError:
        raise
    except Exception as error:  # pydicom raises anything on damaged files
        raise DicomError(f"has a damaged header ({type(error).__name__})") from error
    return found


def _check(found: DicomFile) -> None:
    width, height = found.size
    if not (0 < width <= MAX_SIDE0 and 0 < height <= MAX_SIDE0):
        raise DicomError(f"claims to be {width} x {height} px")
    across, down = found.tile
    if not (across > 0 and down > 0 and across * down <= MAX_TILE_PX):
        raise DicomError(f"claims to have frames of {across} x {down} px")
    if not 0 < found.num_frames <= MAX_FRAMES:
        raise DicomError(f"claims to have {found.num_frames} frames")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the frames of a file lie.

    Attributes:
        x: left in the level, pixels, [n].
        y: top in the level, pixels, [n].
        z: depth in the slide, nanometres, [n].
    """

    x: Ints
    y: Ints
    z: Ints


def positions(found: DicomFile) -> Places:
    """Where the frames of a file lie that states it for each.

    The elements are looked for in the bytes of the header: to parse the sequences of a level with
    100,000 frames takes half a minute.

    Raises:
        DicomError: the file doesn't say.
    """
    with found.path.open("rb") as file:
        header = file.read(found.pixels_at)
    x, y = (_numbers(header, tag, found.syntax) for tag in (COLUMN_POSITION, ROW_POSITION))
    z = _texts(header, Z_OFFSET, found.syntax)
    if not len(x) == len(y) == found.num_frames:
        raise DicomError(f"has {found.num_frames} frames and positions for {min(len(x), len(y))}")
    if len(z) != len(x):
        z = np.zeros(len(x), np.int64)
    if max(np.abs(x).max(), np.abs(y).max()) > MAX_SIDE0:
        raise DicomError("places frames outside its image")
    return Places(x - 1, y - 1, z)


def _numbers(header: bytes, tag: bytes, syntax: str) -> Ints:
    """All values of a signed 32-bit element."""
    head = tag + (b"\x04\0\0\0" if syntax == IMPLICIT else b"SL\x04\0")
    found = re.findall(re.escape(head) + b"(.{4})", header, re.DOTALL)
    return np.frombuffer(b"".join(found), "<i4").astype(np.int64)


def _texts(header: bytes, tag: bytes, syntax: str) -> Ints:
    """All values of a decimal element in micrometres, as nanometres; empty if one is no number."""
    between = rb"([\x01-\x10])\0\0\0" if syntax == IMPLICIT else rb"DS([\x01-\x10])\0"
    found = [
        header[match.end() : match.end() + match[1][0]]
        for match in re.finditer(re.escape(tag) + between, header)
    ]
    try:
        return np.array([round(float(text) * 1e3) for text in found], np.int64)
    except (ValueError, OverflowError):
        return np.zeros(0, np.int64)


class Frames:
    """The bytes of each frame of one file."""

    def __init__(self, found: DicomFile) -> None:
        self._file = OpenFile(found.path)
        size = found.path.stat().st_size
        implicit = found.syntax == IMPLICIT
        head = self._file.read(found.pixels_at, 12)
        if head[:4] != b"\xe0\x7f\x10\x00":
            raise DicomError("holds no pixels")
        self._start = found.pixels_at + (8 if implicit else 12)
        (self._length,) = struct.unpack("<I", head[4:8] if implicit else head[8:12])
        self._is_native = found.syntax in NATIVE
        if self._is_native:
            self._starts, self._ends = self._native(found, size)
        else:
            self._starts = self._encapsulated(found, size)
            after = np.searchsorted(np.sort(self._starts), self._starts, "right")
            self._ends = np.append(np.sort(self._starts), size)[after]

    def read(self, index: int) -> bytes:
        """The bytes of one frame, still coded.

        Raises:
            DicomError: they lie outside the file.
        """
        start, end = int(self._starts[index]), int(self._ends[index])
        if self._is_native:
            return self._file.read(start, end - start)
        parts: list[bytes] = []
        while start < end:
            tag, length = self._item(start)
            if tag != ITEM:
                break
            parts.append(self._file.read(start + 8, length))
            start += 8 + length
        return b"".join(parts)

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _native(self, found: DicomFile, size: int) -> tuple[Ints, Ints]:
        across, down = found.tile
        frame = across * down * int(found.data.SamplesPerPixel) * int(found.data.BitsAllocated) // 8
        if self._length == UNDEFINED or self._start + found.num_frames * frame > size:
            raise DicomError(f"is too short for its {found.num_frames} frames ({size} bytes)")
        starts = self._start + np.arange(found.num_frames, dtype=np.int64) * frame
        return starts, starts + frame

    def _encapsulated(self, found: DicomFile, size: int) -> Ints:
        """Where the first item of each frame begins."""
        num = found.num_frames
        if self._start + 8 * (num + 1) > size:
            raise DicomError(f"is too short for its {num} frames ({size} bytes)")
        tag, length = self._item(self._start)
        if tag != ITEM:
            raise DicomError("has damaged pixel data")
        first = self._start + 8 + length
        basic = np.frombuffer(self._file.read(self._start + 8, length), "<u4")
        extended = np.frombuffer(found.data.get("ExtendedOffsetTable") or b"", "<u8")
        for table in (extended, basic):
            if len(table) == num:
                offsets = table.astype(np.int64)
                if offsets.min() < 0 or offsets.max() + first + 8 > size:
                    raise DicomError("has frames that lie past its end")
                return offsets + first
        return self._scan(first, num, size)

    def _scan(self, first: int, num: int, size: int) -> Ints:
        """Walk over the items of a file without a table of offsets: each is a frame."""
        starts: list[int] = []
        position = first
        while position + 8 <= size and len(starts) <= num:
            tag, length = self._item(position)
            if tag != ITEM:
                break
            starts.append(position)
            position += 8 + length
        if len(starts) != num or position > size:
            raise DicomError(f"has {num} frames, but {len(starts)} pieces of pixel data")
        return np.array(starts, np.int64)

    def _item(self, position: int) -> tuple[bytes, int]:
        head = self._file.read(position, 8)
        if len(head) < 8:
            raise DicomError("ends within its pixel data")
        (length,) = struct.unpack("<I", head[4:])
        if head[:4] == ITEM and length > MAX_FRAME_BYTES:
            raise DicomError(f"has a frame of {length} bytes")
        return head[:4], length
