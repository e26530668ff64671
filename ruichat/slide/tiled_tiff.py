"""The direct way to the tiles of TIFF-family slides, several times as fast as OpenSlide's.

Where every tile lies is read once; a tile is fetched with one `pread` and decoded outside the
GIL, straight into the caller's array where it fits there whole. OpenSlide, or `tiff_reader` for
files that it doesn't know, stays the reference: it says what the slide is, and it reads every
level whose coding isn't known here or whose pixels turn out to differ from its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ruichat.slide import tiff
from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import Box
from ruichat.slide.open_file import OpenFile
from ruichat.slide.openslide_reader import open_reader as open_with_openslide
from ruichat.slide.readers import PicturedReader, PictureKind, ProfiledReader, SlideReader
from ruichat.slide.sharing import share_out
from ruichat.slide.stored_jpeg import Whole, make_whole
from ruichat.slide.tiff import Directory, TiffError
from ruichat.slide.tile_codecs import Decode, choose_decoder, choose_reducer

CACHE_BYTES = 128 << 20
"""Decoded tiles kept for neighbours that straddle them: over two rows of a large slide's."""

FACTORS = (2, 4, 8)
"""Reductions that JPEG's blocks of 8 by 8 frequencies allow."""

MAX_MEAN_DIFFERENCE = 2.0
"""Grey levels that a tile's mean may differ from OpenSlide's before the level is left to it."""


@dataclass(frozen=True, slots=True)
class TileTable:
    """Where the tiles of one level lie in the file.

    Attributes:
        size: width and height of the level, pixels.
        tile: width and height of a tile, pixels.
        columns: tiles in a row of the file.
        offsets: first byte of each tile, row by row.
        counts: bytes of each tile; 0 where the scanner wrote none.
        decode: from those bytes to pixels.
        reduced: by factor, the same tiles decoded at a fraction of their size.
        whole: from those bytes to a JPEG for others to decode; None for other codings.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    columns: int
    offsets: tiff.Numbers
    counts: tiff.Numbers
    decode: Decode
    reduced: Mapping[int, TileTable] = field(default_factory=dict[int, "TileTable"])
    whole: Whole | None = None

    def own(self, box: Box) -> int | None:
        """Index of the tile that is just that box."""
        across, down = self.tile
        if (box.width, box.height) != self.tile or box.x % across or box.y % down:
            return None
        return box.y // down * self.columns + box.x // across

    def covering(self, box: Box) -> list[tuple[int, Box]]:
        """Index and place of each tile that a box touches, row by row."""
        across, down = self.tile
        rows = range(box.y // down, -(-(box.y + box.height) // down))
        columns = range(box.x // across, -(-(box.x + box.width) // across))
        return [
            (row * self.columns + column, Box(column * across, row * down, across, down))
            for row in rows
            for column in columns
        ]


class TiledTiffReader:
    """A slide whose levels are read directly where that gives OpenSlide's pixels.

    Args:
        reference: the same file through a reader for every coding; this reader closes it.
        tables: one for each level of `reference`, None where only OpenSlide can read it.
        path: the file.
    """

    def __init__(self, reference: SlideReader, tables: list[TileTable | None], path: Path) -> None:
        self._reference = reference
        self._tables = tables
        self._trusted: list[bool | None] = [None] * len(tables)
        self._lock = threading.RLock()
        self._decoded = DecodedTiles(CACHE_BYTES)
        self._scratch = threading.local()
        self._file = OpenFile(path)
        self.vendor = reference.vendor
        self.level_sizes = reference.level_sizes
        self.file_mpp = reference.file_mpp
        self.objective = reference.objective
        self.warnings = reference.warnings
        self.files = reference.files
        self.reductions = tuple(
            tuple(table.reduced) if table and table.reduced and self.direct_table(level) else ()
            for level, table in enumerate(tables)
        )
        self.stored_tiles = tuple(
            table.tile if table and table.whole and self.direct_table(level) else None
            for level, table in enumerate(tables)
        )

    @property
    def icc_profile(self) -> bytes | None:
        """ICC profile of the pixels."""
        reference = self._reference
        return reference.icc_profile if isinstance(reference, ProfiledReader) else None

    def picture(self, kind: PictureKind) -> Bytes | None:
        """RGB of the label or the macro image."""
        reference = self._reference
        return reference.picture(kind) if isinstance(reference, PicturedReader) else None

    def close(self) -> None:
        """Release the file."""
        self._reference.close()
        self._file.close()

    def read_many(
        self, level: int, boxes: Sequence[Box], outs: Sequence[Bytes], *, num_threads: int = 1
    ) -> None:
        """Fill each of `outs` with the pixels of a box of one level."""
        table = self.direct_table(level)
        if table is None:
            self._reference.read_many(level, boxes, outs, num_threads=num_threads)
            return

        def read(i: int) -> None:
            box, out = boxes[i], outs[i]
            own = table.own(box)
            if own is not None and table.counts[own] and out.flags.c_contiguous:
                self._decode(table, own, out)
                return
            tiles = table.covering(box)
            if all(table.counts[index] for index, _ in tiles):
                self._read((level, 1), table, tiles, box, out)
            else:
                self._reference.read_many(level, [box], [out])

        share_out(range(len(boxes)), read, num_threads)

    def read_reduced(
        self,
        level: int,
        factor: int,
        boxes: Sequence[Box],
        outs: Sequence[Bytes],
        *,
        num_threads: int = 1,
    ) -> None:
        """Fill each of `outs` with a box of a level that is reduced while it is decoded."""
        whole = self._tables[level]
        assert whole is not None
        table = whole.reduced[factor]

        def read(i: int) -> None:
            tiles = table.covering(boxes[i])
            self._read((level, factor), table, tiles, boxes[i], outs[i])

        share_out(range(len(boxes)), read, num_threads)

    def read_stored(self, level: int, column: int, row: int) -> bytes | None:
        """See `readers.StoredReader`."""
        table = self._tables[level]
        if table is None or table.whole is None or self.stored_tiles[level] is None:
            return None
        across, down = table.tile
        if not (0 <= column * across < table.size[0] and 0 <= row * down < table.size[1]):
            return None
        index = row * table.columns + column
        data = self._file.read(table.offsets.item(index), table.counts.item(index))
        return table.whole(data)

    def _read(
        self,
        key: tuple[int, int],
        table: TileTable,
        tiles: list[tuple[int, Box]],
        box: Box,
        out: Bytes,
    ) -> None:
        for index, place in tiles:
            self._put((*key, index), table, place, box, out)

    def _put(
        self, key: tuple[int, int, int], table: TileTable, place: Box, box: Box, out: Bytes
    ) -> None:
        """Lay one tile into `out`, which shows `box`."""
        index = key[-1]
        if place == box and out.flags.c_contiguous:
            self._decode(table, index, out)
            return
        left, top = max(place.x, box.x), max(place.y, box.y)
        right = min(place.x + place.width, box.x + box.width)
        bottom = min(place.y + place.height, box.y + box.height)
        if (right - left, bottom - top) == table.tile:
            pixels = self._scratch_tile(table)
            self._decode(table, index, pixels)
        else:
            pixels = self._decoded.get(key, lambda: self._decode_new(table, index))
        out[top - box.y : bottom - box.y, left - box.x : right - box.x] = pixels[
            top - place.y : bottom - place.y, left - place.x : right - place.x
        ]

    def _decode(self, table: TileTable, index: int, out: Bytes) -> None:
        data = self._file.read(table.offsets.item(index), table.counts.item(index))
        table.decode(data, out)

    def _decode_new(self, table: TileTable, index: int) -> Bytes:
        pixels = np.empty((table.tile[1], table.tile[0], 3), np.uint8)
        self._decode(table, index, pixels)
        return pixels

    def _scratch_tile(self, table: TileTable) -> Bytes:
        shape = (table.tile[1], table.tile[0], 3)
        known = getattr(self._scratch, "pixels", None)
        if known is None or known.shape != shape:
            known = self._scratch.pixels = np.empty(shape, np.uint8)
        return known

    def direct_table(self, level: int) -> TileTable | None:
        """The level's table, once its richest tile has proved to decode to OpenSlide's pixels."""
        table = self._tables[level]
        if table is None or self._trusted[level]:
            return table
        with self._lock:
            if self._trusted[level] is None:
                self._trusted[level] = self._agrees(level, table)
        return table if self._trusted[level] else None

    def _agrees(self, level: int, table: TileTable) -> bool:
        index = int(table.counts.argmax())
        x, y = index % table.columns * table.tile[0], index // table.columns * table.tile[1]
        width = min(table.tile[0], table.size[0] - x)
        height = min(table.tile[1], table.size[1] - y)
        theirs = np.empty((height, width, 3), np.uint8)
        try:
            ours = self._decode_new(table, index)[:height, :width]
        except Exception:  # decoders of foreign files raise anything; OpenSlide then speaks
            return False
        self._reference.read_many(level, [Box(x, y, width, height)], [theirs])
        difference = np.abs(ours.mean((0, 1)) - theirs.mean((0, 1)))
        return bool(difference.max() <= MAX_MEAN_DIFFERENCE)


class DecodedTiles:
    """Tiles last decoded; each is decoded once however many threads ask for it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._tiles: OrderedDict[tuple[int, ...], Future[Bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, ...], decode: Callable[[], Bytes]) -> Bytes:
        mine: Future[Bytes] | None = None
        with self._lock:
            known = self._tiles.get(key)
            if known is None:
                known = mine = self._tiles[key] = Future()
            else:
                self._tiles.move_to_end(key)
        if mine is None:
            return known.result()
        try:
            pixels = decode()
        except BaseException as error:
            with self._lock:
                del self._tiles[key]
            mine.set_exception(error)
            raise
        mine.set_result(pixels)
        self._keep(key, pixels.nbytes)
        return pixels

    def _keep(self, key: tuple[int, ...], num_bytes: int) -> None:
        """Count a tile in, and drop the oldest ones that are too many."""
        with self._lock:
            self._bytes += num_bytes
            while self._bytes > self._max_bytes:
                oldest = next(iter(self._tiles))
                if oldest == key or not self._tiles[oldest].done():
                    break
                self._bytes -= self._tiles.pop(oldest).result().nbytes


def open_reader(path: Path) -> SlideReader | None:
    """Open a file with OpenSlide, and read it directly where that can be done.

    Raises:
        InputError: it is one of OpenSlide's formats, but damaged.
    """
    reference = open_with_openslide(path)
    if reference is None or reference.files != (path,):
        return reference
    tables = read_tables(path, reference.level_sizes)
    return TiledTiffReader(reference, tables, path) if any(tables) else reference


def read_tables(path: Path, level_sizes: tuple[tuple[int, int], ...]) -> list[TileTable | None]:
    """For each level the tiles of the image with its size; None where there is none to use."""
    tables: list[TileTable | None] = [None] * len(level_sizes)
    try:
        with path.open("rb") as file:
            for directory in tiff.read_directories(file):
                if directory.size in level_sizes:
                    level = level_sizes.index(directory.size)
                    tables[level] = tables[level] or tile_table(directory)
    except TiffError:
        return [None] * len(level_sizes)
    return tables


def tile_table(directory: Directory) -> TileTable | None:
    """Where the tiles of an image lie; None where it has none or their coding isn't known."""
    across = directory.number(tiff.TILE_WIDTH, 0)
    down = directory.number(tiff.TILE_HEIGHT, 0)
    offsets = directory.numbers.get(tiff.TILE_OFFSETS)
    counts = directory.numbers.get(tiff.TILE_COUNTS)
    decode = choose_decoder(directory)
    if decode is None or offsets is None or counts is None or across == 0 or down == 0:
        return None
    width, height = directory.size
    columns = -(-width // across)
    if len(offsets) != len(counts) or len(offsets) < columns * -(-height // down):
        return None
    whole = make_whole(directory)
    table = TileTable(
        (width, height), (across, down), columns, offsets, counts, decode, whole=whole
    )
    return replace(table, reduced=_reduced(table, directory))


def _reduced(table: TileTable, directory: Directory) -> dict[int, TileTable]:
    """The same tiles at fractions of their size, if each was written."""
    if not table.counts.all():
        return {}
    (width, height), (across, down) = table.size, table.tile
    found: dict[int, TileTable] = {}
    for factor in FACTORS:
        decode = choose_reducer(directory, factor)
        size = width // factor, height // factor
        if decode is not None and min(size) > 0 and across % factor == down % factor == 0:
            tile = across // factor, down // factor
            found[factor] = replace(table, size=size, tile=tile, decode=decode)
    return found
