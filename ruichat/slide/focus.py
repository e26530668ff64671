"""Where the tissue is out of focus, as the width of the blur in micrometres."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from pydantic import Field
from scipy import ndimage

from ruichat.config import Config
from ruichat.slide.arrays import Bools, Bytes, Floats
from ruichat.slide.geometry import mask_fractions
from ruichat.slide.stain import optical_density
from ruichat.units import Region0, to_px0

if TYPE_CHECKING:
    from ruichat.slide.slide import Slide

BLOCK_PX = 32
"""Side of a block that gets one value, pixels at the resolution at which focus is measured."""

SQUARE_BLOCKS = 16
"""Blocks a side that are read at once."""

FLAT_PX = 8
"""Side of the pieces of a block among which the flattest shows the camera's noise."""

FLATTEST = 0.05
"""Share of blocks whose flattest piece is taken to hold noise alone."""

MIN_DETAIL = 2e-5
"""Mean squared gradient of optical density, per pixel, below which there is nothing to focus on."""

MIN_BLOCK_TISSUE = 0.25
"""Share of a block that must be tissue."""


class FocusConfig(Config):
    """How focus is measured."""

    mpp: float = Field(default=2.0, gt=0)
    """Resolution of the measurement, micrometres per pixel. Blur of less than one such pixel can't
    be measured; it leaves nuclei legible."""
    max_blur_um: float = Field(default=1.4, gt=0)
    """Wider blur, as a standard deviation in micrometres, counts as out of focus."""
    max_source_px: int = Field(default=2_000_000_000, gt=0)
    """Pixels of the file decoded at most; beyond, only every n-th square is measured."""


@dataclass(frozen=True)
class FocusMap:
    """Blur of one slide.

    Attributes:
        blur_um: standard deviation of the blur of each block, micrometres; NaN where there is no
            tissue, nothing to focus on, or nothing was measured.
        block0: side of a block, level-0 pixels.
        measured: share of the tissue's blocks that were read, 0 to 1.
    """

    blur_um: Float32[Floats, "h w"]
    block0: float
    measured: float

    @property
    def median_um(self) -> float:
        """Blur of the middle block; NaN where none could be measured."""
        known = self.blur_um[np.isfinite(self.blur_um)]
        return float(np.median(known)) if len(known) else float("nan")


def measure_focus(
    slide: Slide, tissue: Bool[Bools, "h w"], downsample: float, config: FocusConfig
) -> FocusMap:
    """Measure the blur of a slide's tissue.

    The Laplacian's energy over the gradient's is the mean squared spatial frequency of what is
    seen, independent of contrast. Blur by a Gaussian of standard deviation s makes it about 1/s²,
    so its inverse root is given, in micrometres. The camera's noise is taken off first, neighbours
    are averaged. The pyramid's level nearest to `config.mpp` is read, and only where tissue is.

    Args:
        slide: open slide.
        tissue: mask of the tissue.
        downsample: level-0 pixels per cell of the mask.
        config: resolution and limits.

    Raises:
        InputError: the file is damaged.

    Source:
        Energies of gradient and Laplacian as focus measures: Subbarao and Tyan 1998, IEEE TPAMI
        20:864-870. The ratio, its scale in micrometres and the limits are ours: sharp blocks of
        drawn and real slides lie below 1.35 µm.
    """
    base = slide.mpp.value
    block0 = BLOCK_PX * config.mpp / base
    rows = max(1, int(slide.height0 / block0))
    columns = max(1, int(slide.width0 / block0))
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    corners = np.stack([x.ravel(), y.ravel()], axis=1) * block0
    share = mask_fractions(tissue, downsample, corners.astype(np.int64), round(block0))
    wanted = (share >= MIN_BLOCK_TISSUE).reshape(rows, columns)
    energies = np.zeros((3, rows, columns), np.float32)
    read = np.zeros((rows, columns), bool)
    for place in _squares(wanted, slide, config):
        height, width = read[place].shape
        rgb = _read_square(slide, place, block0, (height, width), config.mpp)
        energies[:, *place] = _energies(rgb, height, width)
        read[place] = True
    read &= wanted
    blur = _blur_px(energies * read, read) * np.float32(config.mpp)
    return FocusMap(blur, block0, float(read.sum() / max(1, wanted.sum())))


def _squares(
    wanted: Bool[Bools, "h w"], slide: Slide, config: FocusConfig
) -> Iterator[tuple[slice, slice]]:
    """Squares of blocks with tissue; every n-th where all would be too many pixels to decode."""
    rows, columns = wanted.shape
    places = [
        (slice(y, min(rows, y + SQUARE_BLOCKS)), slice(x, min(columns, x + SQUARE_BLOCKS)))
        for y in range(0, rows, SQUARE_BLOCKS)
        for x in range(0, columns, SQUARE_BLOCKS)
    ]
    places = [place for place in places if wanted[place].any()]
    factor = config.mpp / slide.mpp.value
    level = max((d for d in slide.level_downsamples if d <= factor * 1.02), default=1.0)
    pixels = len(places) * (SQUARE_BLOCKS * BLOCK_PX * factor / level) ** 2
    return iter(places[:: max(1, int(np.ceil(pixels / config.max_source_px)))])


def _read_square(
    slide: Slide, place: tuple[slice, slice], block0: float, size: tuple[int, int], mpp: float
) -> UInt8[Bytes, "h w 3"]:
    """The blocks' pixels with one more on each side for the derivatives."""
    edge0 = to_px0(1, mpp=mpp, base_mpp=slide.mpp.value)
    top, left = (round(part.start * block0) - edge0 for part in place)
    height, width = (round(n * block0) + 2 * edge0 for n in size)
    rgb = slide.read(Region0(left, top, width, height), mpp=mpp)
    wanted = size[0] * BLOCK_PX + 2, size[1] * BLOCK_PX + 2
    missing = [max(0, n - have) for n, have in zip(wanted, rgb.shape, strict=False)]
    rgb = np.pad(rgb, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    return rgb[: wanted[0], : wanted[1]]


def _energies(
    rgb: UInt8[Bytes, "h w 3"], rows: int, columns: int
) -> Float32[Floats, "3 rows columns"]:
    """Per block: gradient energy, Laplacian energy, and the Laplacian of its flattest piece.

    All channels count alike: files whose colours are coded wrongly keep detail in one of them.
    """
    whole = optical_density(rgb)
    od = (whole[..., 0] + whole[..., 1] + whole[..., 2]) / 3  # NumPy's mean over three is slow
    middle = od[1:-1, 1:-1]
    up, down, left, right = od[:-2, 1:-1], od[2:, 1:-1], od[1:-1, :-2], od[1:-1, 2:]
    gradient = ((right - left) ** 2 + (down - up) ** 2) / 4
    laplacian = up + down + left + right - 4 * middle
    parts = BLOCK_PX // FLAT_PX
    flat = np.abs(laplacian).reshape(rows, parts, FLAT_PX, columns, parts, FLAT_PX)
    return np.stack(
        [
            gradient.reshape(rows, BLOCK_PX, columns, BLOCK_PX).mean(axis=(1, 3)),
            (laplacian**2).reshape(rows, BLOCK_PX, columns, BLOCK_PX).mean(axis=(1, 3)),
            flat.mean(axis=(2, 5)).min(axis=(1, 3)),
        ]
    )


def _blur_px(
    energies: Float32[Floats, "3 h w"], read: Bool[Bools, "h w"]
) -> Float32[Floats, "h w"]:
    """Standard deviation of the blur of each block, pixels; NaN where it can't be told."""
    blur = np.full(read.shape, np.nan, np.float32)
    if not read.any():
        return blur
    # Of white noise with variance v the Laplacian's mean size is sqrt(20 v * 2 / pi), its energy
    # 20 v and that of the gradient v.
    noise = float(np.quantile(energies[2][read], FLATTEST)) ** 2 * np.pi / 2 / 20
    gradient = energies[0] - np.float32(noise)
    known = read & (gradient > max(MIN_DETAIL, noise))
    laplacian = np.maximum(energies[1][known] - 20 * noise, 0.01 * gradient[known])
    blur[known] = np.sqrt(gradient[known] / laplacian)
    return _mean_around(blur)


def _mean_around(values: Float32[Floats, "h w"]) -> Float32[Floats, "h w"]:
    """Geometric mean of a block and its neighbours, which count half and, over the corner, less.

    Energies aren't averaged: one sharp neighbour would outweigh all the blurred ones.
    """

    def smooth(x: Float32[Floats, "h w"]) -> Float32[Floats, "h w"]:
        for axis in (0, 1):
            x = cast(Floats, ndimage.correlate1d(x, [0.25, 0.5, 0.25], axis=axis, mode="constant"))
        return x

    known = np.isfinite(values)
    mean = smooth(np.log(np.where(known, values, 1)))
    weight = smooth(known.astype(np.float32))
    return np.where(known, np.exp(mean / np.maximum(weight, 1e-6)), values)
