"""One open slide: level-0 boxes in, RGB at a physical resolution out."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import numpy as np
from jaxtyping import Int64, UInt8

from ruichat.errors import InputError, RuiChatError
from ruichat.slide.arrays import Bytes, Ints
from ruichat.slide.geometry import (
    LEVEL_TOLERANCE,
    Box,
    choose_level,
    fit_factor,
    output_size,
    split_rows,
    squares_to_level,
    to_level,
)
from ruichat.slide.mpp import MppChoice
from ruichat.slide.readers import ReducingReader, SlideReader, SquaresReader, StoredReader
from ruichat.slide.resample import resample
from ruichat.slide.sharing import share_out
from ruichat.units import Region0

MAX_BLOCK_PX = 16_000_000
"""Pixels decoded at once: bounds memory at 64 MB however large the region."""


NewArray: TypeAlias = Callable[[tuple[int, ...]], Bytes]
"""Makes the array that pixels are read into, uint8; a reader may know memory that it fills best."""


def _new_array(shape: tuple[int, ...]) -> Bytes:
    return np.empty(shape, np.uint8)


@dataclass(frozen=True, slots=True)
class _Source:
    """Pixels as the reader can give them: a level, whole or reduced by a factor."""

    level: int
    factor: int
    downsample: float
    size: tuple[int, int]


@dataclass(slots=True)
class ReadCounts:
    """How often pixels were read from the file.

    Attributes:
        tiles: tiles handed out.
        boxes: boxes decoded, of any size.
    """

    tiles: int = 0
    boxes: int = 0


class Slide:
    """A slide open for reading; a context manager, safe to read from several threads.

    Attributes:
        path: where it was opened from.
        width0: width in level-0 pixels.
        height0: height in level-0 pixels.
        mpp: the resolution of level 0 and where it comes from.
        vendor: short name of the format.
        opened_by: name of the reader's card.
        icc: whether colours are converted to sRGB by the file's ICC profile.
        level_downsamples: level-0 pixels per pixel of each level, ascending.
        warnings: what the user should know about the file.
        counts: how often pixels were read.
    """

    def __init__(
        self,
        path: Path,
        reader: SlideReader,
        mpp: MppChoice,
        warnings: tuple[str, ...] = (),
        *,
        opened_by: str = "memory",
        icc: bool = False,
        new_array: NewArray = _new_array,
    ) -> None:
        self.path = path
        self.mpp = mpp
        self.vendor = reader.vendor
        self.opened_by = opened_by
        self.icc = icc
        self.width0, self.height0 = reader.level_sizes[0]
        self.level_downsamples = tuple(
            (self.width0 / width + self.height0 / height) / 2
            for width, height in reader.level_sizes
        )
        self.warnings = warnings + ((mpp.warning,) if mpp.warning else ())
        self.counts = ReadCounts()
        self._reader = reader
        self._stored_reader = reader if isinstance(reader, StoredReader) else None
        self._squares_reader = reader if isinstance(reader, SquaresReader) else None
        self._new_array = new_array
        self._sources = [
            _Source(i, 1, downsample, size)
            for i, (downsample, size) in enumerate(
                zip(self.level_downsamples, reader.level_sizes, strict=True)
            )
        ]
        if isinstance(reader, ReducingReader):
            self._sources += self._reduced(reader)
        self._lock = threading.Lock()

    def _reduced(self, reader: ReducingReader) -> list[_Source]:
        """What lies between stored levels; a stored one is read rather than one made for it."""
        found: list[_Source] = []
        for i, (width, height) in enumerate(reader.level_sizes):
            coarser = [d for d in self.level_downsamples if d > self.level_downsamples[i]]
            for factor in reader.reductions[i]:
                downsample = self.level_downsamples[i] * factor
                if downsample < min(coarser, default=math.inf) * (1 - LEVEL_TOLERANCE):
                    size = (width // factor, height // factor)
                    found.append(_Source(i, factor, downsample, size))
        return found

    def _choose(self, factor: float) -> _Source:
        """The coarsest source that is fine enough for so many level-0 pixels per wanted pixel."""
        return self._sources[choose_level([s.downsample for s in self._sources], factor)]

    def downsample_read(self, factor: float) -> float:
        """Level-0 pixels per pixel decoded where so many are wanted per pixel."""
        return self._choose(factor).downsample

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._reader.close()

    @property
    def bounds0(self) -> Region0:
        """The whole slide."""
        return Region0(0, 0, self.width0, self.height0)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the bytes of all files of the slide, in the order of their names."""
        digest = hashlib.sha256()
        for path in self._reader.files:
            try:
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
            except OSError as error:
                raise InputError(
                    f"{path.name} can't be read ({error.strerror})", hint="Check the disk"
                ) from error
        return digest.hexdigest()

    def read(self, region0: Region0, *, mpp: float, num_threads: int = 1) -> UInt8[Bytes, "h w 3"]:
        """RGB of a region at a resolution, white outside the slide.

        Reads the coarsest level that is fine enough, itself reduced while it is decoded where its
        coding allows that, and averages areas down from it.

        Args:
            region0: any box, inside the slide or not.
            mpp: wanted micrometres per pixel.
            num_threads: that share the work.

        Raises:
            InputError: the file is damaged there, or `mpp` isn't positive.
        """
        if not mpp > 0:
            raise InputError(f"can't read at {mpp} um/px", hint="Give a positive resolution")
        factor = mpp / self.mpp.value
        source = self._choose(factor)
        whole = to_level(region0, source.downsample)
        width, height = output_size(region0, mpp=mpp, base_mpp=self.mpp.value)
        out = np.empty((height, width, 3), np.uint8)
        rows = max(1, round(MAX_BLOCK_PX / whole.width * height / whole.height))
        for row, end, first, last in split_rows(height, whole.height, rows):
            box = Box(whole.x, whole.y + first, whole.width, last - first)
            pixels = self._new_array((box.height, box.width, 3))
            self._read_boxes(source, [box], [pixels], num_threads)
            out[row:end] = resample(pixels, width, end - row)
        return out

    def read_tile(
        self, x0: int, y0: int, *, span0: int, tile_px: int
    ) -> UInt8[Bytes, "tile_px tile_px 3"]:
        """RGB of one square of `span0` level-0 pixels, resampled to `tile_px` a side."""
        return self.read_tiles(np.array([[x0, y0]], np.int64), span0=span0, tile_px=tile_px)[0]

    def read_tiles(
        self, xy0: Int64[Ints, "n 2"], *, span0: int, tile_px: int, num_threads: int = 1
    ) -> UInt8[Bytes, "n tile_px tile_px 3"]:
        """RGB of many tiles.

        Gives the same pixels as `read_tile` on each; tiles that follow each other in a row, as
        a grid's do, are read fastest.

        Args:
            xy0: top left corners, level-0 pixels.
            span0: side of a tile, level-0 pixels.
            tile_px: side of what is returned.
            num_threads: that share the work.

        Raises:
            InputError: the file is damaged there.
        """
        source = self._choose(span0 / tile_px)
        places = squares_to_level(xy0, span0, source.downsample)
        out = self._new_array((len(xy0), tile_px, tile_px, 3))
        if not self._read_squares(source, places, out, num_threads):
            boxes = [Box(*place) for place in places.tolist()]
            self._read_and_fit(source, boxes, out, num_threads)
        with self._lock:
            self.counts.tiles += len(xy0)
        return out

    def _read_squares(self, source: _Source, places: Ints, out: Bytes, num_threads: int) -> bool:
        """Read all tiles at once; False where some must be resampled or leave the level."""
        reader, tile_px = self._squares_reader, out.shape[1]
        if reader is None or len(places) == 0 or (places[:, 2:] != tile_px).any():
            return False
        corners = places[:, :2]
        if (corners < 0).any() or (corners + tile_px > source.size).any():
            return False
        with self._reading(source, int(corners[0, 0]), int(corners[0, 1]), len(places)):
            reader.read_squares(source.level, source.factor, corners, out, num_threads=num_threads)
        return True

    def _read_and_fit(
        self, source: _Source, boxes: Sequence[Box], out: Bytes, num_threads: int
    ) -> None:
        tile_px = out.shape[1]
        pixels = [
            out[i]
            if (box.width, box.height) == (tile_px, tile_px)
            else self._new_array((box.height, box.width, 3))
            for i, box in enumerate(boxes)
        ]
        self._read_boxes(source, boxes, pixels, num_threads)

        def fit(i: int) -> None:
            if pixels[i].shape != out[i].shape:
                out[i] = resample(pixels[i], tile_px, tile_px)

        share_out(range(len(boxes)), fit, num_threads)

    @property
    def level_sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each level, finest first."""
        return self._reader.level_sizes

    @property
    def stored_tiles(self) -> tuple[tuple[int, int] | None, ...]:
        """Width and height of the tiles of each level; None where `read_stored` gives none."""
        reader = self._stored_reader
        return (None,) * len(self.level_sizes) if reader is None else reader.stored_tiles

    def read_stored(self, level: int, column: int, row: int) -> bytes | None:
        """A tile of a level as the file holds it: a JPEG, not decoded, free of other data.

        Raises:
            InputError: the file is damaged there.
        """
        if self._stored_reader is None:
            return None
        with self._reading(self._sources[level], column, row, 0):
            return self._stored_reader.read_stored(level, column, row)

    def thumbnail(self, max_px: int = 1024) -> UInt8[Bytes, "h w 3"]:
        """Small view of the tissue, its longer side at most `max_px`.

        Made from the pyramid, never from the label or macro image: those can show names.
        """
        factor = fit_factor(self.width0, self.height0, max_px)
        return self.read(self.bounds0, mpp=self.mpp.value * factor)

    def _read_boxes(
        self, source: _Source, boxes: Sequence[Box], outs: Sequence[Bytes], num_threads: int
    ) -> None:
        """Fill each of `outs` with a box, white where it leaves the level."""
        width, height = source.size
        inside: list[Box] = []
        views: list[Bytes] = []
        for box, out in zip(boxes, outs, strict=True):
            left, top = max(0, box.x), max(0, box.y)
            right, bottom = min(width, box.x + box.width), min(height, box.y + box.height)
            if (right - left, bottom - top) == (box.width, box.height):
                inside.append(box)
                views.append(out)
                continue
            out[:] = 255
            part = Box(left, top, right - left, bottom - top)
            if part.width > 0 and part.height > 0:
                y, x = top - box.y, left - box.x
                inside.append(part)
                views.append(out[y : y + part.height, x : x + part.width])
        if inside:
            with self._reading(source, inside[0].x, inside[0].y, len(inside)):
                self._ask_reader(source, inside, views, num_threads)

    @contextmanager
    def _reading(self, source: _Source, x: int, y: int, num_boxes: int) -> Generator[None]:
        """Counts what is read; what goes wrong becomes an error of ours."""
        try:
            yield
        except RuiChatError:
            raise
        except Exception as error:  # decoders of foreign files raise anything
            raise InputError(
                f"{self.path.name} is damaged: level {source.level} can't be read near "
                f"{x},{y} ({error})",
                hint="Copy or export the slide again",
            ) from error
        with self._lock:
            self.counts.boxes += num_boxes

    def _ask_reader(
        self, source: _Source, boxes: Sequence[Box], outs: Sequence[Bytes], num_threads: int
    ) -> None:
        if source.factor == 1:
            self._reader.read_many(source.level, boxes, outs, num_threads=num_threads)
            return
        assert isinstance(self._reader, ReducingReader)
        self._reader.read_reduced(source.level, source.factor, boxes, outs, num_threads=num_threads)
