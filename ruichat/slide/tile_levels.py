"""Levels made of tiles, each decoded as a whole: what readers without a library share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import Box
from ruichat.slide.sharing import share_out
from ruichat.slide.tiled_tiff import CACHE_BYTES, DecodedTiles

MAX_CACHE_BYTES = 1 << 30
"""Of decoded strips: a sixth of what a decoding process may have."""

WHITE = np.full((1, 1, 3), 255, np.uint8)


@dataclass(frozen=True, slots=True)
class TileLevel:
    """One level and how to decode its tiles.

    Attributes:
        size: width and height, pixels.
        covering: number and place of each tile that a box touches, later ones over earlier ones.
        decode: from a tile's number to its pixels, uint8 [h,w,3]; those at the right and bottom
            may end with the level. None where the file holds no such tile.
        is_whole: whether the tiles cover the level.
    """

    size: tuple[int, int]
    covering: Callable[[Box], Iterable[tuple[int, Box]]]
    decode: Callable[[int], Bytes | None]
    is_whole: bool = True


def in_rows(
    size: tuple[int, int], tile: tuple[int, int]
) -> Callable[[Box], Iterable[tuple[int, Box]]]:
    """Tiles numbered row by row; strips are tiles as wide as the level."""
    across, down = tile
    columns = -(-size[0] // across)

    def covering(box: Box) -> Iterable[tuple[int, Box]]:
        for row in range(box.y // down, -(-(box.y + box.height) // down)):
            for column in range(box.x // across, -(-(box.x + box.width) // across)):
                place = Box(column * across, row * down, across, down)
                yield row * columns + column, place

    return covering


class TileLevels:
    """Boxes of pixels from levels of tiles; a tile that straddles boxes is decoded once.

    Args:
        levels: finest first.
        keep_rows: rows of the finest level for which decoded tiles are kept at least: strips, which
            are as wide as the level, come back for each box along a row.
    """

    def __init__(self, levels: Sequence[TileLevel], *, keep_rows: int = 0) -> None:
        self._levels = levels
        kept = min(keep_rows * levels[0].size[0] * 3, MAX_CACHE_BYTES)
        self._decoded = DecodedTiles(max(kept, CACHE_BYTES))

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each level."""
        return tuple(level.size for level in self._levels)

    def read_many(
        self, level: int, boxes: Sequence[Box], outs: Sequence[Bytes], num_threads: int
    ) -> None:
        """Fill each of `outs` with the pixels of a box, white where there is no tile."""

        def read(i: int) -> None:
            self._read(level, boxes[i], outs[i])

        share_out(range(len(boxes)), read, num_threads)

    def _read(self, number: int, box: Box, out: Bytes) -> None:
        level = self._levels[number]
        if not level.is_whole:
            out[:] = 255
        for index, place in level.covering(box):

            def decode(index: int = index, place: Box = place) -> Bytes:
                return _or_white(level, index, place)

            _lay(self._decoded.get((number, index), decode), place, box, out)


def _or_white(level: TileLevel, index: int, place: Box) -> Bytes:
    """A tile's pixels; one white pixel, which costs the cache nothing, stands for a whole tile."""
    pixels = level.decode(index)
    if pixels is None:
        return WHITE
    width = min(place.width, level.size[0] - place.x)
    height = min(place.height, level.size[1] - place.y)
    if pixels.shape[0] < height or pixels.shape[1] < width or pixels.shape[2] != 3:
        raise ValueError(f"tile {index} decodes to {pixels.shape}; {width} x {height} px are due")
    return pixels


def _lay(pixels: Bytes, place: Box, box: Box, out: Bytes) -> None:
    left, top = max(place.x, box.x), max(place.y, box.y)
    right = min(place.x + place.width, box.x + box.width)
    bottom = min(place.y + place.height, box.y + box.height)
    part = pixels
    if pixels is not WHITE:
        part = pixels[top - place.y : bottom - place.y, left - place.x : right - place.x]
    out[top - box.y : bottom - box.y, left - box.x : right - box.x] = part
