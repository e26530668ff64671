"""Tiles of slides as JPEG: the file's own where one lies just there, else read and encoded."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import simplejpeg

from ruichat.serve.slides.addressing import DeepZoom, choose_tile_px
from ruichat.serve.slides.library import SlideLibrary
from ruichat.serve.slides.tile_cache import TileCache
from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import Box, to_level
from ruichat.slide.resample import resample
from ruichat.slide.slide import Slide
from ruichat.units import Region0

QUALITY = 85
"""Of JPEG made here, libjpeg's scale."""

CACHE_BYTES = 256 << 20
"""Encoded tiles kept: about 15,000, which is what ten people look at in some minutes."""

NUM_THREADS = 4
"""That read and encode: more than cores, as some wait for the disk or for a decoder."""

MAX_READ_PX = 1 << 24
"""Pixels decoded for one tile at most; a slide without coarse levels gets an overview instead."""

OVERVIEW_PX = 4096
"""Longer side of such an overview, at most."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a viewer has to know of an open slide.

    Attributes:
        zoom: its tiles.
        mpp: micrometres per level-0 pixel.
        mpp_source: who says so.
        warnings: what the user should know about the file.
        version: changes with the file.
    """

    zoom: DeepZoom
    mpp: float
    mpp_source: str
    warnings: tuple[str, ...]
    version: str


class Tiles:
    """Tiles of all slides of a library, made by threads of their own.

    Args:
        library: of slides.
        cache_bytes: encoded tiles kept.
    """

    def __init__(self, library: SlideLibrary, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._library = library
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="tiles")
        self._cache = TileCache(cache_bytes, self._threads)
        self._shown: dict[str, Shown] = {}
        self._overviews: dict[str, tuple[str, Bytes]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Make no more tiles."""
        self._threads.shutdown(cancel_futures=True)

    @property
    def num_bytes(self) -> int:
        """Of the tiles that are kept."""
        return self._cache.num_bytes

    def forget(self, slide_id: str) -> None:
        """Drop what is kept of a slide."""
        self._shown.pop(slide_id, None)
        with self._lock:
            self._overviews.pop(slide_id, None)
        self._cache.drop(lambda key: key[0] == slide_id)

    def shown(self, slide_id: str) -> Shown | None:
        """What is known of a slide since it was opened; None if it has to be opened first."""
        shown = self._shown.get(slide_id)
        return shown if shown and shown.version == self._library.version(slide_id) else None

    def show(self, slide_id: str) -> Shown:
        """Open a slide, unless it was, and say what a viewer has to know.

        Raises:
            NotFoundError, InputError, BusyError: see `SlideLibrary.read`.
        """
        return self.shown(slide_id) or self._library.read(
            slide_id, lambda s: self._see(slide_id, s)
        )

    def cached(
        self, slide_id: str, shown: Shown, level: int, column: int, row: int
    ) -> bytes | None:
        """A tile that was shown before."""
        return self._cache.get((slide_id, shown.version, level, column, row))

    def fetch(
        self, slide_id: str, shown: Shown, level: int, column: int, row: int
    ) -> Future[bytes]:
        """A tile as JPEG; the future is shared with others and must not be cancelled.

        Raises:
            NotFoundError: there is no such tile.
        """
        shown.zoom.box(level, column, row)

        def make() -> bytes:
            return self._library.read(
                slide_id, lambda slide: self._tile(slide_id, slide, shown, level, column, row)
            )

        return self._cache.fetch((slide_id, shown.version, level, column, row), make)

    def fetch_thumbnail(self, slide_id: str, shown: Shown, max_px: int) -> Future[bytes]:
        """The whole slide as JPEG, its longer side at most `max_px`; see `fetch`."""

        def make() -> bytes:
            return self._library.read(slide_id, lambda slide: encode(slide.thumbnail(max_px)))

        return self._cache.fetch((slide_id, shown.version, max_px), make)

    def _see(self, slide_id: str, slide: Slide) -> Shown:
        shown = Shown(
            zoom=DeepZoom(slide.width0, slide.height0, choose_tile_px(slide.stored_tiles[0])),
            mpp=slide.mpp.value,
            mpp_source=slide.mpp.source,
            warnings=slide.warnings,
            version=self._library.version(slide_id) or "",
        )
        self._shown[slide_id] = shown
        return shown

    def _tile(
        self, slide_id: str, slide: Slide, shown: Shown, level: int, column: int, row: int
    ) -> bytes:
        zoom = shown.zoom
        stored = stored_level(slide, zoom, level, column, row)
        if stored is not None:
            data = slide.read_stored(stored, column, row)
            if data is not None:
                return data
        region0, factor = zoom.region0(level, column, row), zoom.factor(level)
        if region0.width * region0.height > MAX_READ_PX * slide.downsample_read(factor) ** 2:
            overview = self._overview(slide_id, slide, shown)
            return encode(_cut(overview, slide, region0, zoom.box(level, column, row)))
        return encode(slide.read(region0, mpp=slide.mpp.value * factor))

    def _overview(self, slide_id: str, slide: Slide, shown: Shown) -> Bytes:
        """The whole slide, read once: tiles of levels that would each take much of the file."""
        with self._lock:  # whoever else needs one can wait: reading two at once takes as long
            version, pixels = self._overviews.get(slide_id, ("", None))
            if version != shown.version or pixels is None:
                pixels = slide.thumbnail(OVERVIEW_PX)
                self._overviews = {slide_id: (shown.version, pixels)}
            return pixels


def stored_level(slide: Slide, zoom: DeepZoom, level: int, column: int, row: int) -> int | None:
    """The file's level that holds just this tile, with just the pixels that reading gives."""
    box, region0 = zoom.box(level, column, row), zoom.region0(level, column, row)
    side = zoom.tile_px
    if (box.width, box.height) != (side, side):
        return None
    for number, downsample in enumerate(slide.level_downsamples):
        width, height = slide.level_sizes[number]
        is_inside = box.x + side <= width and box.y + side <= height
        if (
            is_inside
            and slide.stored_tiles[number] == (side, side)
            and to_level(region0, downsample) == box
        ):
            return number
    return None


def encode(pixels: Bytes) -> bytes:
    """RGB, uint8 [h,w,3], as JPEG."""
    return simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorspace="RGB", colorsubsampling="420")


def _cut(overview: Bytes, slide: Slide, region0: Region0, box: Box) -> Bytes:
    """A tile out of a picture of the whole slide."""
    height, width = overview.shape[:2]
    left, top = region0.x * width // slide.width0, region0.y * height // slide.height0
    right = max(left + 1, (region0.x + region0.width) * width // slide.width0)
    bottom = max(top + 1, (region0.y + region0.height) * height // slide.height0)
    return resample(overview[top:bottom, left:right], box.width, box.height)
