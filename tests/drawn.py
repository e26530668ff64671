"""Small slides drawn in code for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ImageCms

from ruichat.slide.mpp import MppChoice
from ruichat.slide.plain_reader import PlainReader
from ruichat.slide.slide import Slide

PINK = (225, 140, 180)
PURPLE = (120, 80, 150)

Picture = NDArray[np.uint8]


def draw_tissue(width: int, height: int, *, seed: int = 0, margin: int = 0) -> Picture:
    """Pink ground with purple dots inside a white margin: enough like H&E for the rules here."""
    rng = np.random.default_rng(seed)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = PINK
    dots = rng.random((height // 4 + 1, width // 4 + 1)) < 0.2
    picture[np.kron(dots, np.ones((4, 4), bool))[:height, :width]] = PURPLE
    noise = rng.integers(-6, 7, picture.shape)
    picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    if margin:
        inside = np.zeros((height, width), bool)
        inside[margin:-margin, margin:-margin] = True
        picture[~inside] = 250
    return picture


def write_pyramid(path: Path, picture: Picture, *, mpp: float | None, levels: int = 3) -> Path:
    """A tiled pyramidal TIFF without loss, as OpenSlide opens it."""
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp,) * 2, "resolutionunit": 3}
    with tifffile.TiffWriter(path) as tiff:
        for level in range(levels):
            data = picture[:: 2**level, :: 2**level]
            tiff.write(
                np.ascontiguousarray(data),
                tile=(256, 256),
                photometric="rgb",
                compression="deflate",
                subfiletype=int(level > 0),
                **resolution,
            )
    return path


def swapping_profile() -> bytes:
    """An ICC profile in which red and blue change places."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


def slide_of(picture: Picture, *, mpp: float = 0.5) -> Slide:
    """A slide in memory."""
    reader = PlainReader(picture, "png", (), None)
    return Slide(Path("drawn.png"), reader, MppChoice(mpp, "user", None, None))
