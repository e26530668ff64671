"""A reader for RuiChat, to start from: slides in a made-up format, `.rawslide`.

A `.rawslide` file is 20 bytes, b"RAWSLIDE", then width, height (unsigned, little-endian) and
micrometres per pixel (32-bit float), followed by its pixels, three bytes each, row by row.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.slide.geometry import Box
from ruichat.slide.readers import ReaderCard

MAGIC = b"RAWSLIDE"
HEAD = struct.Struct("<8sIIf")


def card() -> ReaderCard:
    """What RuiChat is told about this reader; the entry point names this function."""
    return ReaderCard(
        name="rawslide",
        summary="RAWSLIDE, as an example",
        order=50,
        loader="ruichat_rawslide:open_reader",
        suffixes=(".rawslide",),
    )


def open_reader(path: Path) -> RawSlideReader | None:
    """Open a file of this format; None for any other file.

    Raises:
        InputError: it is of this format, but damaged.
    """
    with path.open("rb") as file:
        head = file.read(HEAD.size)
    if not head.startswith(MAGIC):
        return None
    if len(head) < HEAD.size:
        raise InputError(f"{path.name} ends in its header", hint="Export it again")
    _, width, height, mpp = HEAD.unpack(head)
    wanted = HEAD.size + width * height * 3
    if path.stat().st_size != wanted:
        raise InputError(
            f"{path.name} has {path.stat().st_size} bytes; its {width} x {height} px need {wanted}",
            hint="Export it again",
        )
    return RawSlideReader(path, width, height, mpp)


class RawSlideReader:
    """An open file: a `ruichat.slide.readers.SlideReader`."""

    def __init__(self, path: Path, width: int, height: int, mpp: float) -> None:
        self._pixels = np.memmap(path, np.uint8, "r", HEAD.size, (height, width, 3))
        self.vendor = "rawslide"
        self.level_sizes = ((width, height),)
        self.file_mpp = (mpp, mpp) if mpp > 0 else None
        self.objective = None
        self.warnings: tuple[str, ...] = ()
        self.files = (path,)

    def read_many(
        self,
        level: int,
        boxes: Sequence[Box],
        outs: Sequence[NDArray[np.uint8]],
        *,
        num_threads: int = 1,
    ) -> None:
        """Fill each of `outs`, uint8 [h,w,3], with the pixels of a box, which lies inside."""
        for box, out in zip(boxes, outs, strict=True):
            out[:] = self._pixels[box.y : box.y + box.height, box.x : box.x + box.width]

    def close(self) -> None:
        """Release the file."""
        del self._pixels
