"""A region that a person drew becomes a view of its own: its tiles, split again more finely."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ruichat.chat.answer import DrawnRecord
from ruichat.chat.facts import TileReading
from ruichat.chat.outline import Outline0
from ruichat.chat.reading import ReadSlide, measure, read_tiles, tell
from ruichat.errors import InputError
from ruichat.features.bag import FeatureBag
from ruichat.slide.quality import measure_tiles
from ruichat.units import Region0

if TYPE_CHECKING:
    from ruichat.chat.backend import Backend
    from ruichat.model.pictures import PixelSource

MIN_TILES = 4
"""With fewer tiles of the slide's grid inside, which then show much of what lies around it, tiles
are read that lie within the drawn region's box. Ours."""

STEP = 2
"""Such tiles follow each other by half their side, so that a small region holds more of them."""

MIN_KNOWN_TISSUE = 0.5
"""Share of such a tile that must lie in tiles of the grid, which are on tissue. Ours."""

MAX_OWN_TILES = 1024
"""A strip of one tile's width across a slide has fewer; an outline that winds between the tiles of
the grid would have a slide's. Ours."""


def read_drawn(read: ReadSlide, outline: Outline0) -> ReadSlide:
    """The part of a slide inside an outline, as a slide of its own that the model reads anew.

    Tiles belong to it by their centres. They are cut into as many regions as a whole slide's,
    so each is smaller; their boxes stay level-0 boxes of the slide. Where fewer than `MIN_TILES`
    lie inside, tiles of the same size and resolution are read for it.

    Args:
        read: the whole slide.
        outline: what was drawn.

    Raises:
        InputError: it lies beside the slide, is smaller than a tile, holds no tissue, or winds
            between too many tiles.
    """
    record, bag = read.view.record, read.bag
    outline = outline.within(record.width0, record.height0)
    inside = outline.holds(_centres(bag.xy0, bag.span0))
    area = outline.area_mm2(bag.base_mpp)
    if inside.sum() < MIN_TILES:
        own, tissue_share = _own_tiles(bag, outline)
        if len(own):
            part = _read_own(read, own)
            return _as_slide(
                read, outline, part, read_tiles(read.backend, part), area * tissue_share
            )
    if not inside.any():
        raise InputError("the drawn region holds no tissue", hint="Draw it on the tissue")
    reading = read.reading
    if reading is not None:
        reading = TileReading(reading.probabilities[inside], reading.known[inside])
    # As many tiles of the slide hold on average; more than the region itself can't be.
    tissue_mm2 = min(area, bag.tissue_area_mm2 * float(inside.mean()))
    return _as_slide(read, outline, bag.where(inside), reading, tissue_mm2)


def _as_slide(
    read: ReadSlide,
    outline: Outline0,
    part: FeatureBag,
    reading: TileReading | None,
    tissue_mm2: float,
) -> ReadSlide:
    part = dataclasses.replace(part, tissue_area_mm2=tissue_mm2)
    drawn = DrawnRecord(outline.points0, outline.box0, outline.area_mm2(part.base_mpp), len(part))
    view, shown = measure(read.view.record, read.backend, part, reading, drawn)
    session = tell(view, read.backend, shown, read.pixels)
    return ReadSlide(view, part, reading, session, read.backend, read.pixels)


def _centres(xy0: Int64[NDArray[np.int64], "n 2"], span0: int) -> Float[NDArray[Any], "n 2"]:
    return xy0 + span0 / 2


def _own_tiles(bag: FeatureBag, outline: Outline0) -> tuple[Int64[NDArray[np.int64], "n 2"], float]:
    """Corners of tiles on tissue within the outline's box, and their share of all that fit."""
    box, span0 = outline.box0, bag.span0
    if min(box.width, box.height) < span0:
        mpp, least = bag.base_mpp, bag.span0 * bag.base_mpp
        raise InputError(
            f"the drawn region is {box.width * mpp:.0f} x {box.height * mpp:.0f} um; "
            f"the smallest that can be read is {least:.0f} x {least:.0f} um",
            hint="Draw a larger region",
        )
    xs, ys = _places(box.x, box.width, span0), _places(box.y, box.height, span0)
    xy0 = np.stack([np.tile(xs, len(ys)), np.repeat(ys, len(xs))], axis=1)
    xy0 = xy0[outline.holds(_centres(xy0, span0))]
    on_tissue = _tissue_shares(bag, xy0) >= MIN_KNOWN_TISSUE
    if on_tissue.sum() > MAX_OWN_TILES:
        raise InputError(
            "the drawn region winds between the tiles of the slide", hint="Draw a simpler outline"
        )
    return xy0[on_tissue], float(on_tissue.mean()) if len(xy0) else 0.0


def _places(start: int, length: int, span0: int) -> Int64[NDArray[np.int64], " n"]:
    """Where tiles begin along one side, the row of them centred."""
    step = max(1, span0 // STEP)
    num = (length - span0) // step + 1
    first = start + (length - span0 - (num - 1) * step) // 2
    return first + step * np.arange(num, dtype=np.int64)


def _tissue_shares(
    bag: FeatureBag, xy0: Int64[NDArray[np.int64], "n 2"]
) -> Float64[NDArray[np.float64], " n"]:
    """Share of each tile that tiles of the bag cover; these don't overlap."""
    if not len(xy0):
        return np.zeros(0)
    # Only pairs that touch: all pairs of a large box and a large slide fill the memory.
    pairs = KDTree(xy0).sparse_distance_matrix(
        KDTree(bag.xy0), bag.span0, p=np.inf, output_type="ndarray"
    )
    far = np.abs(xy0[pairs["i"]] - bag.xy0[pairs["j"]]).astype(np.float64)
    common = np.clip(bag.span0 - far, 0, None).prod(axis=1)
    return np.bincount(pairs["i"], common, minlength=len(xy0)) / float(bag.span0) ** 2


def _read_own(read: ReadSlide, xy0: Int64[NDArray[np.int64], "n 2"]) -> FeatureBag:
    bag = read.bag
    tiles = _pixels_of(read.pixels, xy0, bag)
    quality = measure_tiles(tiles)
    return dataclasses.replace(
        bag,
        embeddings=_encode(read.backend, tiles),
        xy0=xy0,
        focus=quality.focus,
        hematoxylin=quality.hematoxylin,
        eosin=quality.eosin,
    )


def _pixels_of(
    pixels: PixelSource, xy0: Int64[NDArray[np.int64], "n 2"], bag: FeatureBag
) -> UInt8[NDArray[np.uint8], "n h w 3"]:
    mpp = bag.base_mpp * bag.span0 / bag.tile_px
    boxes = [Region0(x, y, bag.span0, bag.span0) for x, y in xy0.tolist()]
    return np.stack([pixels.read(box, mpp=mpp) for box in boxes])


def _encode(backend: Backend, tiles: UInt8[NDArray[np.uint8], "n h w 3"]) -> NDArray[np.float32]:
    if backend.encoder is None:
        return np.zeros((len(tiles), 0), np.float32)
    return backend.encoder.encode(tiles)
