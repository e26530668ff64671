"""What can be measured on tiles without a model: focus and the amount of each stain."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from ruichat.slide.arrays import Bytes, Floats
from ruichat.slide.stain import unmixing_matrix

HALF_FOCUS = 0.12
"""Laplacian energy over variance at which focus is 0.5."""

BAND, PERIOD = 16, 32
"""Focus is measured in bands of 16 rows, one in every 32."""

STAIN_STEP = 3
"""Stains are measured on every third pixel of every third row."""

_OD_OF_BIT = -math.log10(2)
"""Decadic optical density that a bit of brightness takes away."""


@dataclass(frozen=True)
class TileQuality:
    """Measurements of n tiles.

    Attributes:
        focus: 0 (blurred away) to 1 (very sharp).
        hematoxylin: mean optical density of that stain.
        eosin: mean optical density of that stain.
    """

    focus: Float32[Floats, " n"]
    hematoxylin: Float32[Floats, " n"]
    eosin: Float32[Floats, " n"]


def measure_tiles(tiles: UInt8[Bytes, "n h w 3"]) -> TileQuality:
    """Measure tiles.

    Focus is the variance of the Laplacian of optical density in green, where both stains absorb,
    over the variance of that density, e / (e + `HALF_FOCUS`): dividing makes it independent of how
    strong the stain is. Both variances are over bands of rows, `BAND` in every `PERIOD` (all rows
    of tiles that have few), stains over every `STAIN_STEP`-th pixel and row: on scanned slides
    that moves focus by 0.005 and stains by 0.001 on average, and takes an eighth of the time.

    Source:
        Energy of Laplacian, Subbarao and Tyan 1998, IEEE TPAMI 20:864-870; normalisation ours.
    """
    focus = np.empty(len(tiles), np.float32)
    stains = np.empty((2, len(tiles)), np.float32)
    unmix = unmixing_matrix()[:, :2].T * _OD_OF_BIT
    for i, tile in enumerate(tiles):
        focus[i] = _focus(_bits(_bands(tile[..., 1])))
        few = _bits(np.moveaxis(tile[::STAIN_STEP, ::STAIN_STEP], 2, 0)).reshape(3, -1)
        stains[:, i] = np.maximum(unmix @ few, 0).mean(axis=1)
    return TileQuality(focus, stains[0], stains[1])


def _bits(values: UInt8[Bytes, "*s"]) -> Float32[Floats, "*s"]:
    """Optical density in units of `_OD_OF_BIT`: a logarithm is faster than a look-up."""
    bits = np.ascontiguousarray(values).astype(np.float32)
    bits += 1
    np.log2(bits, out=bits)
    bits -= 8
    return bits


def _bands(channel: UInt8[Bytes, "h w"]) -> UInt8[Bytes, "bands rows w"]:
    """Rows in which focus is measured, each band with a row more above and below."""
    height, width = channel.shape
    if height < 2 * PERIOD:
        return channel[None]
    whole = channel[: height // PERIOD * PERIOD].reshape(-1, PERIOD, width)
    return whole[:, : BAND + 2]


def _focus(green: Float32[Floats, "bands rows w"]) -> float:
    around = green[:, :-2] + green[:, 2:]
    middle = np.ascontiguousarray(green[:, 1:-1])
    # Rows end to end are added in one go; what runs over their ends is set to nothing.
    flat, line = around.reshape(-1), middle.reshape(-1)
    flat[1:-1] += line[:-2]
    flat[1:-1] += line[2:]
    flat -= 4 * line
    around[..., 0] = around[..., -1] = 0
    num = flat.size - 2 * around[..., 0].size
    ratio = _variance(flat, num) / (_variance(line, line.size) + 1e-3 / _OD_OF_BIT**2)
    return ratio / (ratio + HALF_FOCUS)


def _variance(values: Float32[Floats, " n"], num: int) -> float:
    """Of `num` values and as many zeros as there are more."""
    mean = float(values.sum()) / num
    return max(0.0, float(values @ values) / num - mean**2)
