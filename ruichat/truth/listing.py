"""Listings of what lies in a folder: CSV files whose lines name files and say of what they are."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

from ruichat.errors import InputError


def read_listing(
    path: Path,
    columns: Sequence[str],
    *,
    more: Sequence[str] = (),
    if_there: Sequence[str] = (),
) -> list[dict[str, str]]:
    """The lines of a listing, each with all columns that are needed.

    Args:
        path: of the CSV file.
        columns: that every such listing has.
        more: that this one needs as well.
        if_there: that need a value in every line if the header has them.

    Raises:
        InputError: it is missing, can't be read, or lacks a column or a value.
    """
    header = ",".join(columns)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"no {path.name} in {path.parent}", hint=f"List the files in it: {header}"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not readable CSV: {error}") from error
    wanted = {*columns, *more, *(name for name in if_there if rows and name in rows[0])}
    if not rows or not wanted <= set(rows[0]):
        # What is beyond the header's columns is under None.
        found = sorted(filter(None, rows[0])) if rows else "none"
        raise InputError(
            f"{path} has columns {found}; needed: {sorted(wanted)}",
            hint=f"Begin the file with the line: {header}",
        )
    for place, row in enumerate(rows, 1):
        if lacking := sorted(name for name in wanted if not row[name]):
            raise InputError(
                f"{path} record {place} has no {' and no '.join(lacking)}",
                hint="Complete it, or take it out",
            )
    return rows


def path_inside(folder: Path, name: str, listing: str, suffixes: Collection[str] = ()) -> Path:
    """Where a file lies that a listing names.

    Args:
        folder: of the listing.
        name: as the listing has it.
        listing: name of the listing.
        suffixes: that are allowed, in lower case; all if empty.

    Raises:
        InputError: it lies outside of the folder, or has another suffix.
    """
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    if not inside or (suffixes and Path(name).suffix.lower() not in suffixes):
        what = "images" if suffixes else "files"
        raise InputError(
            f"{listing} names {name!r}; allowed are {what} inside {folder}",
            hint=(f"Use one of {', '.join(sorted(suffixes))}, with" if suffixes else "Give")
            + " a path relative to the folder",
        )
    return folder / name
