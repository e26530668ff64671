"""Files of a kind in folders and all below them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ruichat.errors import InputError


def files_below(
    folders: Iterable[Path], suffixes: Collection[str], what: str
) -> Iterator[tuple[Path, Path]]:
    """Files with one of the suffixes, in order; hidden ones are left out.

    Links to folders are followed, and each folder is entered once.

    Args:
        suffixes: in lower case, with the dot.
        what: they are, for the error.

    Yields:
        The given folder, and a file below it.

    Raises:
        InputError: a folder isn't there or can't be read.
    """
    entered: set[str] = set()

    def fail(error: OSError) -> None:
        raise InputError(
            f"{error.filename} can't be read ({error.strerror})", hint=f"Give a folder of {what}"
        ) from error

    for folder in folders:
        for name, inner, files in os.walk(folder, onerror=fail, followlinks=True):
            real = os.path.realpath(name)
            if real in entered:
                inner.clear()
                continue
            entered.add(real)
            inner[:] = sorted(one for one in inner if not one.startswith("."))
            for file in sorted(files):
                if Path(file).suffix.lower() in suffixes and not file.startswith("."):
                    yield folder, Path(name) / file
