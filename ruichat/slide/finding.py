"""The slides in a folder, whatever else lies there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruichat.errors import InputError
from ruichat.slide.opening import slide_suffixes

PLAIN_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
"""Of pictures, which folders of slides hold as thumbnails, masks, labels and parts of slides; they
are taken only where they are named."""

DICOM_SUFFIX = ".dcm"

MRXS_INDEX = "Slidedat.ini"
"""In the folder of data beside an .mrxs file."""


@dataclass(frozen=True)
class Found:
    """What was found under some paths.

    Attributes:
        slides: files, and folders of one DICOM slide each; each once, in the order of the paths.
        num_other: files that are no slides.
    """

    slides: tuple[Path, ...]
    num_other: int


def find_slides(paths: Sequence[Path]) -> Found:
    """Slides among files and, at any depth, in folders.

    A file that is named is taken as it is. In folders, files count by their suffix; a folder with
    DICOM files counts as one slide, what hides behind a dot and a slide's own data don't count.

    Raises:
        InputError: a path doesn't exist, or a folder can't be read.
    """
    slides: dict[Path, None] = {}
    num_other = 0
    for path in paths:
        if not path.exists():
            raise InputError(f"no file at {path}", hint="Check the path")
        if not path.is_dir():
            slides[path] = None
            continue
        for found, is_slide in _walk(path):
            if is_slide:
                slides[found] = None
            else:
                num_other += 1
    return Found(tuple(slides), num_other)


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Files and DICOM folders, each with whether it is a slide; links to folders are followed."""
    seen: set[str] = set()
    known = slide_suffixes() - PLAIN_SUFFIXES

    def fail(error: OSError) -> None:
        raise InputError(
            f"{error.filename} can't be read ({error.strerror})", hint="Check its permissions"
        ) from error

    for name, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        here, real = Path(name), os.path.realpath(name)
        if real in seen or MRXS_INDEX in files:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        visible = sorted(f for f in files if not f.startswith("."))
        if any(f.lower().endswith(DICOM_SUFFIX) for f in visible):
            yield here, True
        for file in visible:
            suffix = Path(file).suffix.lower()
            if suffix != DICOM_SUFFIX:
                yield here / file, suffix in known
