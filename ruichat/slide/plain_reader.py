"""Plain PNG, JPEG and TIFF regions, held in memory as one level."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from ruichat.errors import InputError, RuiChatError
from ruichat.slide.alpha import over_white
from ruichat.slide.arrays import Bytes
from ruichat.slide.geometry import Box
from ruichat.slide.mpp import ome_mpp

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAX_PIXELS = 300_000_000
"""Largest plain image held in memory: 900 MB of RGB."""

UM_PER_UNIT = {2: 25_400.0, 3: 10_000.0}
"""TIFF ResolutionUnit: inch, centimetre."""

JPEG_COMPRESSIONS = frozenset({6, 7, 33007})
"""TIFF Compression: JPEG of old, new and private kind."""

UNSPECIFIED, PREMULTIPLIED = 0, 1
"""TIFF ExtraSamples: a fourth channel of no stated meaning, or alpha with its colours weighted."""

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
    with path.open("rb") as file:
        head = file.read(4)
    try:
        if head in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
            return _read_tiff(path)
        return _read_pillow(path)
    except RuiChatError:
        raise
    except Exception as error:  # image decoders raise anything on damaged files
        raise InputError(
            f"{path.name} is damaged or incomplete ({type(error).__name__}: {error})",
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
        if image.mode.startswith(("I", "F")):
            raise _not_rgb8(path, f"mode {image.mode}")
        dpi = image.info.get("dpi")
        if image.has_transparency_data:
            rgb = over_white(np.asarray(image.convert("RGBA")))
        else:
            rgb = np.asarray(image.convert("RGB"))
        mpp = (25_400.0 / dpi[0], 25_400.0 / dpi[1]) if dpi and min(dpi) > 0 else None
        return PlainReader(rgb, (image.format or "image").lower(), (path,), mpp)


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


def _read_tiff(path: Path) -> PlainReader:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        pages = [p for p in tiff.pages if isinstance(p, tifffile.TiffPage)]
        if not pages:
            raise InputError(f"{path.name} holds no image", hint="Export it again")
        page = max(pages, key=lambda p: p.imagewidth * p.imagelength)
        check_size(path, page.imagewidth, page.imagelength)
        if page.dtype != np.uint8 or page.samplesperpixel not in (1, 3, 4):
            raise _not_rgb8(path, f"{page.dtype}, {page.samplesperpixel} channels")
        return PlainReader(_tiff_rgb(path, page), "tiff", (path,), _tiff_mpp(tiff, page))


def _tiff_rgb(path: Path, page: TiffPage) -> UInt8[Bytes, "h w 3"]:
    """The page's colours as RGB; tifffile gives the samples as stored.

    Raises:
        InputError: the samples are inks or luminance and chroma.
    """
    from tifffile import PHOTOMETRIC

    kind, compression = int(page.photometric), int(page.compression)
    plain = kind in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB)
    # The JPEG decoder itself turns luminance and chroma into RGB.
    decoded = kind == PHOTOMETRIC.YCBCR and compression in JPEG_COMPRESSIONS
    if kind == PHOTOMETRIC.PALETTE:
        pixels = page.asrgb(uint8=True)
    elif plain or decoded:
        pixels = page.asarray()
    else:
        raise _not_rgb8(path, f"colours of kind {PHOTOMETRIC(kind).name}")
    pixels = _channels_last(np.asarray(pixels, np.uint8))
    if kind == PHOTOMETRIC.MINISWHITE and 262 in page.tags:
        pixels = 255 - pixels
    alpha = int(page.extrasamples[0]) if page.extrasamples else UNSPECIFIED
    if pixels.shape[2] == 4 and alpha != UNSPECIFIED:
        return over_white(pixels, premultiplied=alpha == PREMULTIPLIED)
    return np.ascontiguousarray(pixels[..., :3])


def _channels_last(pixels: Bytes) -> Bytes:
    """Pixels as [h, w, 3 or 4], whether they were grey, by plane or by pixel."""
    pixels = np.squeeze(pixels)
    if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[2] not in (3, 4):
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return pixels


def _tiff_mpp(tiff: TiffFile, page: TiffPage) -> tuple[float, float] | None:
    stated = ome_mpp(tiff.ome_metadata or "")
    if stated is not None:
        return stated
    um = UM_PER_UNIT.get(int(page.resolutionunit))
    x, y = page.resolution
    return (um / x, um / y) if um and x > 0 and y > 0 else None


def check_size(path: Path, width: int, height: int) -> None:
    """Refuse a plain image that memory can't be expected to hold.

    Raises:
        InputError: it is empty or has more than `MAX_PIXELS`.
    """
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        raise _too_large(path, f"{width} x {height} px")


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
