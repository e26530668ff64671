"""What can be measured on tiles without a model: focus and the amount of each stain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from ruichat.slide.arrays import Bytes, Floats
from ruichat.slide.stain import optical_density, unmixing_matrix

HALF_FOCUS = 0.12
"""Laplacian energy over variance at which focus is 0.5."""


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
    strong the stain is.

    Source:
        Energy of Laplacian, Subbarao and Tyan 1998, IEEE TPAMI 20:864-870; normalisation ours.
    """
    num = len(tiles)
    focus = np.zeros(num, np.float32)
    stains = np.zeros((num, 2), np.float32)
    unmix = unmixing_matrix()[:, :2]
    for i, tile in enumerate(tiles):
        od = optical_density(tile)
        focus[i] = _focus(od[..., 1])
        stains[i] = np.maximum(od[::2, ::2].reshape(-1, 3) @ unmix, 0).mean(axis=0)
    return TileQuality(focus, stains[:, 0].copy(), stains[:, 1].copy())


def _focus(green: Float32[Floats, "h w"]) -> float:
    around = green[:-2, 1:-1] + green[2:, 1:-1] + green[1:-1, :-2] + green[1:-1, 2:]
    energy = float((around - 4 * green[1:-1, 1:-1]).var())
    ratio = energy / (float(green.var()) + 1e-3)
    return ratio / (ratio + HALF_FOCUS)
