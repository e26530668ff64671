"""Changing the size of RGB arrays by area averaging."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from ruichat.slide.arrays import Bytes


def resample(pixels: UInt8[Bytes, "h w 3"], width: int, height: int) -> UInt8[Bytes, "a b 3"]:
    """The image at another size.

    Whole factors average exact squares; other factors shrink with a Hamming window (Pillow), as
    its box filter would weight neighbouring pixels unevenly; growing is bilinear.
    """
    from PIL import Image

    rows, columns = pixels.shape[:2]
    if (columns, rows) == (width, height):
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if columns % width == 0 and rows % height == 0:
        return np.asarray(image.reduce((columns // width, rows // height)))
    shrinks = columns >= width and rows >= height
    kind = Image.Resampling.HAMMING if shrinks else Image.Resampling.BILINEAR
    return np.asarray(image.resize((width, height), kind))
