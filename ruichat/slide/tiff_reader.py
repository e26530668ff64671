"""TIFF slides that OpenSlide doesn't know or knows in part: OME-TIFF, plain pyramids, large TIFF.

Pixels are read tile by tile or strip by strip, never as a whole image. tifffile says what the
pages are and decodes any coding; tiles of common codings are read directly (`tiled_tiff`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import openslide

from ruichat.errors import InputError, RuiChatError
from ruichat.slide import tiff as directories
from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import Box
from ruichat.slide.open_file import OpenFile
from ruichat.slide.readers import SlideReader
from ruichat.slide.saying import say
from ruichat.slide.tiff_pages import Pyramid, find_pyramid
from ruichat.slide.tiff_plane import Plane, finisher, join
from ruichat.slide.tile_levels import TileLevel, TileLevels, in_rows
from ruichat.slide.tiled_tiff import TiledTiffReader, TileTable, tile_table

if TYPE_CHECKING:
    from tifffile import TiffPage

KEEP_ROWS = 1_100
"""Of a TIFF in strips: two rows of the largest tiles that encoders take, 512 px."""

HEADS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


class TiffReader:
    """A TIFF slide, read through tifffile's decoders."""

    def __init__(self, path: Path, pyramid: Pyramid) -> None:
        self.vendor = "ome-tiff" if pyramid.is_ome else "tiff"
        self.file_mpp = pyramid.file_mpp
        self.objective = pyramid.objective
        self.warnings = pyramid.warnings
        self.icc_profile = pyramid.icc_profile
        self.files = (path,)
        self._file = OpenFile(path)
        self._levels = TileLevels(
            [self._level(path, pages, pyramid.bits) for pages in pyramid.levels],
            keep_rows=0 if pyramid.levels[0][0].is_tiled else KEEP_ROWS,
        )
        self.level_sizes = self._levels.sizes

    def read_many(
        self, level: int, boxes: Sequence[Box], outs: Sequence[Bytes], *, num_threads: int = 1
    ) -> None:
        """Fill each of `outs` with the pixels of a box of one level."""
        self._levels.read_many(level, boxes, outs, num_threads)

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _level(self, path: Path, pages: tuple[TiffPage, ...], bits: int) -> TileLevel:
        planes = [Plane(path, page) for page in pages]
        finish = finisher(path, pages[0], len(pages), bits)

        def decode(index: int) -> Bytes | None:
            pixels = join([plane.decode(index, self._file) for plane in planes])
            return None if pixels is None else finish(pixels)

        size, tile = planes[0].size, planes[0].tile
        return TileLevel(size, in_rows(size, tile), decode)


def open_reader(path: Path) -> SlideReader | None:
    """Open a TIFF unless OpenSlide reads all of it.

    Raises:
        InputError: it is damaged, or its pixels are of a kind that isn't read.
        UnsuitableSlideError: it holds no brightfield slide.
    """
    import tifffile

    with path.open("rb") as file:
        if file.read(4) not in HEADS:
            return None
    known = openslide.OpenSlide.detect_format(path)
    if known not in (None, "generic-tiff"):
        return None
    try:
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            pyramid = find_pyramid(path, tiff)
            if known is not None and not pyramid.is_ome and _all_seen_by_openslide(pyramid):
                return None
            reader = TiffReader(path, pyramid)
    except RuiChatError:
        raise
    except Exception as error:  # tifffile raises anything on damaged files
        raise InputError(
            f"{path.name} is damaged or incomplete ({say(error)})",
            hint="Copy or export it again",
        ) from error
    tables = _tables(path, pyramid)
    return TiledTiffReader(reader, tables, path) if any(tables) else reader


def _all_seen_by_openslide(pyramid: Pyramid) -> bool:
    """Whether each level is a page that says it is one: neither below another, nor unmarked."""
    coarser = [page for pages in pyramid.levels[1:] for page in pages]
    return all(page.is_reduced and not page.is_subifd for page in coarser)


def _tables(path: Path, pyramid: Pyramid) -> list[TileTable | None]:
    """Where the tiles of each level lie; None for levels that tifffile has to decode."""
    with path.open("rb") as file:
        found = {d.position: d for d in directories.read_directories(file)}
    return [
        tile_table(found[pages[0].offset]) if len(pages) == 1 and pages[0].offset in found else None
        for pages in pyramid.levels
    ]
