"""What colour alone says about a tile: the control that every score of an encoder stands beside."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from ruichat.slide.stain import optical_density, unmixing_matrix

COLOUR_DIM = 12


def colour_statistics(
    tiles: UInt8[NDArray[np.uint8], "n h w 3"],
) -> Float32[NDArray[np.float32], "n 12"]:
    """Mean and spread of red, green, blue (0-1) and of hematoxylin, eosin, residual (density)."""
    unmix = unmixing_matrix()
    rows = np.empty((len(tiles), COLOUR_DIM), np.float32)
    for i, tile in enumerate(tiles):
        pixels = tile.reshape(-1, 3)
        rgb = pixels.astype(np.float32) / 255
        stain = optical_density(pixels) @ unmix
        rows[i] = np.concatenate([rgb.mean(0), rgb.std(0), stain.mean(0), stain.std(0)])
    return rows
