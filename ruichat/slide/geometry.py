"""The only place that scales coordinates: level-0, level and output pixels, mask cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.slide.arrays import Bools, Bytes, Floats, Ints
from ruichat.units import UM2_PER_MM2, Region0

LEVEL_TOLERANCE = 0.02
"""A level may be this much coarser than asked: 2.0005 serves for 2, as real pyramids round."""

MAX_SIDE0 = 4_000_000
"""Longest side of a slide taken seriously: a metre of glass at 0.25 um/px."""


_CROSSINGS = 4_000_000
"""Of edges with rows of cells, that are worked on at once: bounds memory at some hundred MB."""


class Box(NamedTuple):
    """A box in the pixels of one level or of one output image; may reach outside of it.

    A tuple, because thousands are made every second.
    """

    x: int
    y: int
    width: int
    height: int


def choose_level(downsamples: Sequence[float], factor: float) -> int:
    """Index of the coarsest level that is still at least as fine as asked.

    Args:
        downsamples: per level, level-0 pixels per level pixel, ascending from 1.
        factor: level-0 pixels per wanted pixel.
    """
    fine = [i for i, d in enumerate(downsamples) if d <= factor * (1 + LEVEL_TOLERANCE)]
    return max(fine, key=lambda i: downsamples[i]) if fine else 0


def to_level(region0: Region0, downsample: float) -> Box:
    """The region in pixels of a level, edges rounded to nearest, never empty."""
    x, y = round(region0.x / downsample), round(region0.y / downsample)
    right = round((region0.x + region0.width) / downsample)
    bottom = round((region0.y + region0.height) / downsample)
    return Box(x, y, max(1, right - x), max(1, bottom - y))


def squares_to_level(xy0: Int64[Ints, "n 2"], span0: int, downsample: float) -> Int64[Ints, "n 4"]:
    """As `to_level` of each square of `span0` level-0 pixels: left, top, width, height."""
    if span0 <= 0:
        raise InputError(f"tiles of {span0} px", hint="Ask for at least 1 px")
    low = np.rint(xy0 / downsample).astype(np.int64)
    high = np.rint((xy0 + span0) / downsample).astype(np.int64)
    return np.concatenate([low, np.maximum(1, high - low)], axis=1)


def to_level0_xy(x: int, y: int, downsample: float) -> tuple[int, int]:
    """Level-0 position of a level's pixel, as OpenSlide wants it."""
    return round(x * downsample), round(y * downsample)


def surrounding(boxes: Sequence[Box]) -> Box:
    """The smallest box around all of them."""
    left, top = min(b.x for b in boxes), min(b.y for b in boxes)
    right, bottom = max(b.x + b.width for b in boxes), max(b.y + b.height for b in boxes)
    return Box(left, top, right - left, bottom - top)


def output_size(region0: Region0, *, mpp: float, base_mpp: float) -> tuple[int, int]:
    """Width and height of a region read at `mpp`, at least one pixel each."""
    factor = mpp / base_mpp
    return max(1, round(region0.width / factor)), max(1, round(region0.height / factor))


def split_rows(num_rows: int, num_source_rows: int, rows_per_block: int) -> list[tuple[int, ...]]:
    """Blocks of output rows with the source rows that each is made from.

    Returns:
        Tuples (row, end row, source row, source end row); blocks abut and none is empty.
    """
    blocks: list[tuple[int, ...]] = []
    for row in range(0, num_rows, rows_per_block):
        end = min(num_rows, row + rows_per_block)
        source = min(num_source_rows - 1, round(row * num_source_rows / num_rows))
        source_end = max(source + 1, round(end * num_source_rows / num_rows))
        blocks.append((row, end, source, source_end))
    return blocks


def lay_axis(length0: int, span0: int) -> Ints:
    """Starts of squares of `span0` along an axis, all inside, evenly spread.

    There are round(length / span) of them, so that no tile needs invented pixels: neighbours
    overlap slightly where that rounds up, and the rest is shared between both ends (under a
    quarter of a tile each) where it rounds down.
    """
    if length0 < span0:
        return np.zeros(0, np.int64)
    count = max(1, int(length0 / span0 + 0.5))
    rest = length0 - count * span0
    if count == 1 or rest >= 0:
        return rest // 2 + span0 * np.arange(count, dtype=np.int64)
    return np.round(np.linspace(0, length0 - span0, count)).astype(np.int64)


def mask_fractions(
    mask: Bool[Bools, "h w"], downsample: float, xy0: Int64[Ints, "n 2"], span0: int
) -> Float32[Floats, " n"]:
    """Share of each square tile that the mask covers, to the nearest mask cell.

    Args:
        mask: True where there is tissue.
        downsample: level-0 pixels per mask cell.
        xy0: top left corners of the tiles.
        span0: side of the tiles.
    """
    height, width = mask.shape
    total = np.zeros((height + 1, width + 1), np.int64)
    total[1:, 1:] = mask.cumsum(0, dtype=np.int64).cumsum(1)
    low = np.floor(xy0 / downsample + 0.5).astype(np.int64)
    high = np.floor((xy0 + span0) / downsample + 0.5).astype(np.int64)
    left, right = np.clip(low[:, 0], 0, width - 1), np.clip(high[:, 0], 1, width)
    top, bottom = np.clip(low[:, 1], 0, height - 1), np.clip(high[:, 1], 1, height)
    right, bottom = np.maximum(right, left + 1), np.maximum(bottom, top + 1)
    covered = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
    return (covered / ((right - left) * (bottom - top))).astype(np.float32)


def fill_rings(
    rings0: Sequence[Float64[NDArray[np.float64], "_ 2"]], downsample: float, size: tuple[int, int]
) -> tuple[Box, Bool[Bools, "h w"]]:
    """Cells of a mask whose centres lie inside closed rings, by the even-odd rule.

    Holes and the parts of a shape of several are rings like its outline.

    Args:
        rings0: level-0 positions in order, the first repeated as the last.
        downsample: level-0 pixels per cell.
        size: width and height of the whole mask, in cells.

    Returns:
        The box of cells that the rings span, as far as the mask reaches, and what of it they hold.
    """
    rings = [ring / downsample for ring in rings0]
    low = np.clip([np.floor(ring.min(0)) for ring in rings], 0, size).min(0).astype(np.int64)
    high = np.clip([np.ceil(ring.max(0)) for ring in rings], 0, size).max(0).astype(np.int64)
    box = Box(*low.tolist(), *(high - low).tolist())
    starts = np.concatenate([ring[:-1] for ring in rings]) - low
    ends = np.concatenate([ring[1:] for ring in rings]) - low
    # A cell changes sides with each edge that passes its row on the left of its centre.
    flips = np.zeros((box.height, box.width + 1), np.uint8)
    many = max(1, _CROSSINGS // max(1, box.height))
    for first in range(0, len(starts), many):
        _flip(flips, starts[first : first + many], ends[first : first + many])
    return box, np.logical_xor.accumulate(flips & 1, axis=1)[:, :-1].astype(np.bool_)


def _flip(
    flips: UInt8[Bytes, "h w"],
    starts: Float64[NDArray[np.float64], "p 2"],
    ends: Float64[NDArray[np.float64], "p 2"],
) -> None:
    """Count each edge in the first cell of every row whose centre lies right of it."""
    height, width = flips.shape
    y = np.stack([starts[:, 1], ends[:, 1]])
    top = np.clip(np.ceil(y.min(0) - 0.5), 0, height).astype(np.int64)
    num = np.clip(np.ceil(y.max(0) - 0.5), 0, height).astype(np.int64) - top
    edge = np.repeat(np.arange(len(starts)), num)
    row = np.arange(len(edge)) - np.repeat(num.cumsum() - num, num) + top[edge]
    (x1, y1), (x2, y2) = starts[edge].T, ends[edge].T
    x = x1 + (row + 0.5 - y1) * (x2 - x1) / (y2 - y1)
    column = np.clip(np.ceil(x - 0.5), 0, width - 1).astype(np.int64)
    np.add.at(flips, (row, column), 1)


def cells_area_mm2(num_cells: int, *, cell_mpp: float) -> float:
    """Area of that many square cells of `cell_mpp` micrometres a side."""
    return num_cells * cell_mpp * cell_mpp / UM2_PER_MM2


def fit_factor(width0: int, height0: int, max_px: int) -> float:
    """Level-0 pixels per pixel so that the longer side has at most `max_px` pixels."""
    if max_px <= 0:
        raise InputError(f"a thumbnail of {max_px} px", hint="Ask for at least 1 px")
    return max(1.0, max(width0, height0) / max_px)
