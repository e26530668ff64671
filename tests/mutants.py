"""Slides that were sound once: bytes of small ones changed at random, the same for each number."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from dicoms import Written, write_series
from malformed import PICTURE, write_slide

from ruichat.errors import RuiChatError
from ruichat.slide.opening import open_slide
from ruichat.units import Region0

EDGE = 4096
"""Bytes at both ends of a file where most of its structure lies."""

_BYTES = (0, 1, 127, 128, 255)
_WORDS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80")
_NUMBERS = (b"0", b"-1", b"1e99", b"99999999", b"nan", b"&#0;")


def _ome(folder: Path) -> Path:
    path = folder / "slide.ome.tif"
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        how: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib"}
        tiff.write(PICTURE, subifds=1, metadata={"axes": "YXS", **sizes}, **how)
        tiff.write(np.ascontiguousarray(PICTURE[::2, ::2]), subfiletype=1, **how)
    return path


def _svs(folder: Path) -> Path:
    path = folder / "slide.svs"
    words = "Aperio Image Library v11.2.1\r\n300x260 [0,0 300x260] (64x64) JPEG/RGB Q=80"
    with tifffile.TiffWriter(path) as tiff:
        for step in (1, 2):
            tiff.write(
                np.ascontiguousarray(PICTURE[::step, ::step]),
                tile=(64, 64),
                photometric="ycbcr",
                compression="jpeg",
                description=f"{words}|AppMag = 20|MPP = 0.5",
                metadata=None,
            )
    return path


def _dicom(folder: Path, *levels: Written) -> Path:
    return write_series(folder / "series", PICTURE, *levels, series="1.2.5")


Change = Callable[[bytes, random.Random], bytes]

FORMS: dict[str, Callable[[Path], Path]] = {
    "TIFF": lambda folder: write_slide(folder / "slide.tif"),
    "BigTIFF": lambda folder: write_slide(folder / "slide.tif", "BigTIFF"),
    "JPEG in TIFF": lambda folder: write_slide(folder / "slide.tif", "JPEG"),
    "OME-TIFF": _ome,
    "SVS": _svs,
    "DICOM": lambda folder: _dicom(folder, Written(coding="jpeg")),
    "DICOM levels": lambda folder: _dicom(folder, Written(), Written(mpp=1.0)),
    "sparse DICOM": lambda folder: _dicom(folder, Written(coding="j2k", sparse=True)),
}


@dataclass(frozen=True)
class Ending:
    """How the opening of a mutant ended.

    Attributes:
        form: what it was made of.
        outcome: "opened", or the class of the error.
        message: of the error, with its hint.
        seconds: until then.
    """

    form: str
    outcome: str
    message: str
    seconds: float


def try_mutant(
    number: int, folder: Path, *, form: str = "", change: Change | None = None
) -> Ending:
    """Make the mutant of that number, open it, and read from it where it opens.

    Args:
        number: settles what is changed, and in which form of slide.
        folder: to write to.
        form: of the slide, instead of one by chance.
        change: made instead of a random one.

    Raises:
        BaseException: whatever isn't an error of ours; that is what a test looks for.
    """
    rng = random.Random(number)
    form = form or rng.choice(list(FORMS))
    path = FORMS[form](folder)
    path.write_bytes((change or mutate)(path.read_bytes(), rng))
    begun = time.monotonic()
    try:
        with open_slide(path, mpp=0.5) as slide:
            slide.thumbnail(256)
            slide.read(Region0(0, 0, 300, 260), mpp=0.5)
    except RuiChatError as error:
        seconds = time.monotonic() - begun
        assert error.hint, f"mutant {number} ({form}) ended without a hint: {error.message}"
        return Ending(form, type(error).__name__, f"{error.message} | {error.hint}", seconds)
    return Ending(form, "opened", "", time.monotonic() - begun)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Cut a file, exchange parts of it, or change bytes, mostly where its structure lies."""
    changed = bytearray(data)
    way = rng.random()
    if way < 0.12:
        return bytes(changed[: rng.randrange(len(changed))])
    if way < 0.2:
        _move(changed, rng)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        _change(changed, rng)
    return bytes(changed)


def _move(data: bytearray, rng: random.Random) -> None:
    """Copy one stretch over another, so that sound structure turns up where it doesn't belong."""
    length = rng.choice((4, 12, 64, 600))
    start, to = (rng.randrange(max(1, len(data) - length)) for _ in range(2))
    data[to : to + length] = data[start : start + length]


def _change(data: bytearray, rng: random.Random) -> None:
    edge = min(EDGE, len(data))
    where = rng.choice(
        (rng.randrange(edge), rng.randrange(len(data)), len(data) - 1 - rng.randrange(edge))
    )
    way = rng.random()
    if way < 0.6:
        data[where] = rng.choice((*_BYTES, rng.randrange(256)))
    elif way < 0.9:
        where = min(where, len(data) - 4)
        number = rng.randrange(1 << 32).to_bytes(4, "little")
        data[where : where + 4] = rng.choice((*_WORDS, number))
    else:
        _change_number_in_words(data, rng)


def _change_number_in_words(data: bytearray, rng: random.Random) -> None:
    """Descriptions in XML and key = value state sizes too."""
    start = data.find(b'="', rng.randrange(len(data)))
    if start >= 0:
        word = rng.choice(_NUMBERS)
        data[start + 2 : start + 2 + len(word)] = word
