"""The slides in a folder, whatever else lies there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ruichat.errors import InputError
from ruichat.slide.dicom_file import series_of
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
        series: UID of the series, for slides of several files that share a folder with other
            series; their path is the first of the files.
    """

    slides: tuple[Path, ...]
    num_other: int
    series: Mapping[Path, str] = field(default_factory=dict[Path, str])


def find_slides(paths: Sequence[Path]) -> Found:
    """Slides among files and, at any depth, in folders.

    A file that is named is taken as it is. In folders, files count by their suffix; a folder with
    DICOM files counts as one slide, or each series in it where there are several; what hides behind
    a dot and a slide's own data don't count.

    Raises:
        InputError: a path doesn't exist, or a folder can't be read.
    """
    slides: dict[Path, str] = {}
    num_other = 0
    for path in paths:
        if not path.exists():
            raise InputError(f"no file at {path}", hint="Check the path")
        if not path.is_dir():
            slides[path] = ""
            continue
        for found, is_slide, series in _walk(path):
            if is_slide:
                slides[found] = series
            else:
                num_other += 1
    named = {path: series for path, series in slides.items() if series}
    return Found(tuple(slides), num_other, named)


def _walk(folder: Path) -> Iterator[tuple[Path, bool, str]]:
    """Files and DICOM folders, each with whether it is a slide, and the series that it stands for.

    Links to folders are followed.
    """
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
        yield from _dicom(here, [f for f in visible if f.lower().endswith(DICOM_SUFFIX)])
        for file in visible:
            suffix = Path(file).suffix.lower()
            if suffix != DICOM_SUFFIX:
                yield here / file, suffix in known, ""


def _dicom(folder: Path, names: list[str]) -> Iterator[tuple[Path, bool, str]]:
    """A folder's DICOM files: the folder, or the first file of each series if there are several."""
    members: dict[str, list[Path]] = {}
    for name in names:
        series = series_of(folder / name)
        if series is not None:
            members.setdefault(series, []).append(folder / name)
    if len(members) > 1:
        for series, files in members.items():
            yield files[0], True, series if len(files) > 1 else ""
    elif names:
        yield folder, True, ""
