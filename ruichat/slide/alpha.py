"""Transparency laid over white, the colour of bare glass."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from ruichat.slide.arrays import Bytes


def over_white(
    rgba: UInt8[Bytes, "h w 4"], *, premultiplied: bool = False
) -> UInt8[Bytes, "h w 3"]:
    """RGB of an image over white.

    Args:
        rgba: the image.
        premultiplied: whether its colours are already weighted by alpha.
    """
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    white = 255 * (255 - alpha.astype(np.uint32))
    over = rgba[..., :3] * (np.uint32(255) if premultiplied else alpha.astype(np.uint32)) + white
    return np.minimum((over + 127) // 255, 255).astype(np.uint8)
