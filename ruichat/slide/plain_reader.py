"""Plain PNG, JPEG, BMP and WebP regions, held in memory as one level."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ruichat.errors import InputError, RuiChatError
from ruichat.slide.alpha import over_white
from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import Box
from ruichat.slide.saying import say

MAX_PIXELS = 300_000_000
"""Largest plain image held in memory: 900 MB of RGB."""

PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")

_PILLOW_LIMIT = threading.Lock()


@dataclass(frozen=True)
class PlainReader:
    """One image in memory."""

    rgb: UInt8[Bytes, "h w 3"]
    vendor: str
    files: tuple[Path, ...]
    file_mpp: tuple[float, float] | None
    objective: float | None = None
    warnings: tuple[str, ...] = ()
    icc_profile: bytes | None = None
    level_sizes: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        height, width = self.rgb.shape[:2]
        object.__setattr__(self, "level_sizes", ((width, height),))

    def read_many(
        self, level: int, boxes: Sequence[Box], outs: Sequence[Bytes], *, num_threads: int = 1
    ) -> None:
        """Fill each of `outs` with the pixels of a box; there is only level 0."""
        for box, out in zip(boxes, outs, strict=True):
            out[:] = self.rgb[box.y : box.y + box.height, box.x : box.x + box.width]

    def close(self) -> None:
        """Nothing is held open."""


def open_reader(path: Path) -> PlainReader | None:
    """Read a plain image, or return None where it isn't one.

    Raises:
        InputError: it is an image, but damaged, too large or not 8-bit RGB.
    """
    try:
        return _read_pillow(path)
    except RuiChatError:
        raise
    except Exception as error:  # image decoders raise anything on damaged files
        raise InputError(
            f"{path.name} is damaged or incomplete ({say(error)})",
            hint="Copy or export it again",
        ) from error


def _read_pillow(path: Path) -> PlainReader | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with _pillow_limit_lifted():
            image = Image.open(path, formats=PILLOW_FORMATS)
    except UnidentifiedImageError:
        return None
    with image:
        check_size(path, *image.size)
        _check_claim(path, image.size, image.mode, image.format or "")
        if image.mode.startswith(("I", "F")):
            raise _not_rgb8(path, f"mode {image.mode}")
        dpi = image.info.get("dpi")
        if image.has_transparency_data:
            rgb = over_white(np.asarray(image.convert("RGBA")))
        else:
            rgb = np.asarray(image.convert("RGB"))
        mpp = (25_400.0 / dpi[0], 25_400.0 / dpi[1]) if dpi and min(dpi) > 0 else None
        name, profile = (image.format or "image").lower(), image.info.get("icc_profile")
        return PlainReader(rgb, name, (path,), mpp, icc_profile=profile)


@contextmanager
def _pillow_limit_lifted() -> Generator[None]:
    """Let `check_size` alone decide: Pillow's own limit, read on opening, is lower than ours."""
    from PIL import Image

    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def check_size(path: Path, width: int, height: int) -> None:
    """Refuse a plain image that memory can't be expected to hold.

    Raises:
        InputError: it is empty or has more than `MAX_PIXELS`.
    """
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        raise _too_large(path, f"{width} x {height} px")


def _check_claim(path: Path, size: tuple[int, int], mode: str, form: str) -> None:
    """Refuse a picture that claims to have more pixels than its bytes can hold."""
    held, pixels = path.stat().st_size, size[0] * size[1]
    bits = 1 if mode in ("1", "P", "L") else 24
    most = {"PNG": 8 * 1_032 // bits, "JPEG": 1_024}.get(form)
    if most is not None and pixels > most * held:
        raise InputError(
            f"{path.name} claims to be {size[0]} x {size[1]} px, which can't come out of its "
            f"{held} bytes",
            hint="The file is damaged: copy or export it again",
        )


def _too_large(path: Path, found: str) -> InputError:
    return InputError(
        f"{path.name} is {found}; a plain image may have up to {MAX_PIXELS // 1_000_000} million "
        "pixels",
        hint="Convert it to a tiled pyramidal TIFF, or give a smaller region",
    )


def _not_rgb8(path: Path, found: str) -> InputError:
    return InputError(
        f"{path.name} holds {found}; RuiChat reads 8-bit RGB",
        hint="Export it as 8-bit RGB",
    )
