"""Slides of several files: their parts lie in the slide's folder, and are files.

OpenSlide opens whatever a MIRAX or Hamamatsu index names and every file beside a DICOM file. A
slide from outside must not make it read other people's files, or wait on a pipe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ruichat.errors import InputError
from ruichat.slide.dicom_file import is_dicom

INDEX_BYTES = 4 << 20
"""Longest index that is read; those of real slides have some kilobytes."""

MAX_NEIGHBOURS = 20_000

_MIRAX_KEYS = re.compile(r"INDEXFILE|FILE_\d+")
_HAMAMATSU_KEYS = re.compile(r"(ImageFile|MapFile|OptimisationFile|MacroImage).*")


def check_siblings(path: Path) -> None:
    """Refuse a slide whose other files lie elsewhere or aren't files; single files pass.

    Raises:
        InputError: says which file is wrong.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".mrxs":
            _check_mirax(path)
        elif suffix in {".vms", ".vmu"}:
            check_files(path, [path.parent / n for n in _names(path, path, _HAMAMATSU_KEYS)])
        elif is_dicom(path):
            _check_dicom(path)
    except OSError as error:
        raise InputError(
            f"the folder of {path.name} can't be read ({error.strerror})",
            hint="Check its permissions",
        ) from error


def check_files(path: Path, files: Iterable[Path]) -> None:
    """Refuse parts of a slide that lie neither in its folder nor below, or aren't files.

    The folder is the one that the path names, and the one in which the slide's own file lies if
    the path is a link.

    Raises:
        InputError: says which file is wrong.
    """
    roots = {path.parent.resolve(), path.resolve().parent}
    for file in files:
        if not file.exists():
            continue  # the reader says what is missing
        if not file.is_file():
            raise InputError(
                f"{file.name}, a part of {path.name}, is not a file", hint="Copy the slide again"
            )
        real = file.resolve()
        if not any(real.is_relative_to(root) for root in roots):
            raise InputError(
                f"{file.name}, a part of {path.name}, leads outside its own folder",
                hint="Give a slide whose files lie together",
            )


def _check_mirax(path: Path) -> None:
    folder = path.with_suffix("")
    index = folder / "Slidedat.ini"
    check_files(path, [index])
    if index.is_file():
        check_files(path, [folder / name for name in _names(path, index, _MIRAX_KEYS)])


def _names(path: Path, index: Path, keys: re.Pattern[str]) -> Iterator[str]:
    """File names that an index gives; each must be a bare name."""
    with index.open("rb") as file:
        data = file.read(INDEX_BYTES + 1)
    if len(data) > INDEX_BYTES:
        raise InputError(
            f"{index.name} of {path.name} has more than {INDEX_BYTES} bytes",
            hint="The file is damaged: copy the slide again",
        )
    for line in data.decode("latin-1").splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if not keys.fullmatch(key) or not value:
            continue
        if "/" in value or "\\" in value or value in (".", ".."):
            raise InputError(
                f"{index.name} of {path.name} names files outside its own folder",
                hint="Give a slide whose files lie together",
            )
        yield value


def _check_dicom(path: Path) -> None:
    for i, neighbour in enumerate(path.parent.iterdir()):
        if i >= MAX_NEIGHBOURS:
            raise InputError(
                f"{path.name} lies in a folder of over {MAX_NEIGHBOURS} files",
                hint="Put the files of the slide into a folder of their own",
            )
        if neighbour.is_dir() or not neighbour.exists():
            continue
        if not neighbour.is_file():
            check_files(path, [neighbour])
        if neighbour.is_symlink() and is_dicom(neighbour):
            check_files(path, [neighbour])
