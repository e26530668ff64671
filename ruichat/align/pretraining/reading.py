"""Manifests and lists of tiles: read row by row, everything that is wrong named with its line."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ruichat.align.pretraining.tiles import (
    SUFFIXES,
    ImageTiles,
    JoinedTiles,
    PatchFile,
    PatchTiles,
    TileSet,
    TileSourceConfig,
)
from ruichat.errors import InputError

COLUMNS = ("h5_path", "patch_count", "cum_sum")

MOST_DIGITS = 12
"""Of a number of tiles."""

_DELIMITERS = {".tsv": "\t", ".csv": ","}


@dataclass(frozen=True)
class Fault:
    """Something wrong with tiles.

    Attributes:
        file: manifest, list, folder or file of tiles.
        line: of the manifest or list, from 1; None where a whole file is meant.
        what: is wrong.
        remedy: as an instruction.
    """

    file: Path
    line: int | None
    what: str
    remedy: str

    def __str__(self) -> str:
        place = str(self.file) if self.line is None else f"{self.file}, line {self.line}"
        return f"{place}: {self.what}"


@dataclass
class Listing:
    """What a manifest, list or folder names.

    Attributes:
        patches: files of a manifest, with the line that names each.
        images: image files, likewise.
        faults: what is wrong with its lines.
    """

    patches: list[tuple[int, PatchFile]] = field(default_factory=list[tuple[int, PatchFile]])
    images: list[tuple[int, Path]] = field(default_factory=list[tuple[int, Path]])
    faults: list[Fault] = field(default_factory=list[Fault])

    def tiles(self) -> TileSet:
        """The tiles, by number."""
        if self.patches:
            return PatchTiles([file for _, file in self.patches])
        return ImageTiles([path for _, path in self.images])


def read_listing(source: TileSourceConfig) -> Listing:
    """What a source names; the files themselves aren't opened.

    Raises:
        InputError: the manifest, list or folder can't be read at all.
    """
    readers = {"manifest": _manifest, "list": _list, "folder": _folder}
    try:
        listing = readers[source.kind](source)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{source.path} can't be read as a {source.kind} of tiles ({error})",
            hint="Give a text file in UTF-8, or a folder with kind: folder",
        ) from error
    if not listing.faults and not len(listing.tiles()):
        listing.faults.append(
            Fault(source.path, None, "names no tiles", "List some, or leave this source out")
        )
    return listing


def open_tiles(sources: list[TileSourceConfig]) -> TileSet:
    """All tiles of all sources.

    Raises:
        InputError: something is wrong with a line, or a file isn't there; the first such is named.
    """
    parts: list[TileSet] = []
    for source in sources:
        listing = read_listing(source)
        if not listing.faults:
            listing.faults += _missing(source, listing)
        if listing.faults:
            first, more = listing.faults[0], len(listing.faults) - 1
            raise InputError(
                f"{first}{f' ({more} more)' if more else ''}",
                hint=f"{first.remedy}. All are listed by: ruichat align data check-tiles",
            )
        parts += [listing.tiles()] * source.repeat
    return JoinedTiles(parts)


def listed_digest(sources: Sequence[TileSourceConfig]) -> str:
    """Over what sources list, not over the tiles themselves: those are too many to read."""
    digest = hashlib.sha256()
    for source in sources:
        if source.kind == "folder":
            names = (path.relative_to(source.path).as_posix() for path in _images(source.path))
            digest.update("\n".join(names).encode())
        else:
            digest.update(source.path.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _missing(source: TileSourceConfig, listing: Listing) -> list[Fault]:
    """Lines whose files aren't there; a folder is listed once, not asked for each file."""
    if source.kind == "folder":
        return []
    named = [*((line, file.path) for line, file in listing.patches if file.quota), *listing.images]
    there: dict[Path, frozenset[str]] = {}
    found: list[Fault] = []
    for line, path in named:
        if path.parent not in there:
            there[path.parent] = _names_in(path.parent)
        # Some file systems know a name in other letters too.
        if path.name not in there[path.parent] and not path.is_file():
            remedy = "Restore the file, or take the line out"
            found.append(Fault(source.path, line, f"{path} isn't there", remedy))
    return found


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def _manifest(source: TileSourceConfig) -> Listing:
    listing, total = Listing(), 0
    for line, row in _rows(source.path, COLUMNS, listing):
        path, count, end = (row[name].strip() for name in COLUMNS)
        if not path or not _is_count(count) or not _is_count(end):
            found = f"h5_path {path!r}, patch_count {count!r}, cum_sum {end!r}"
            remedy = "Give a path, a number of tiles and the sum of the numbers up to this line"
            listing.faults.append(Fault(source.path, line, found, remedy))
            continue
        total += int(count)
        if int(end) != total:
            what = f"cum_sum is {end}, and patch_count adds up to {total}"
            remedy = "Correct the line, or write the manifest again"
            listing.faults.append(Fault(source.path, line, what, remedy))
            total = int(end)
        listing.patches.append((line, PatchFile(source.start() / path, int(count))))
    return listing


def _is_count(text: str) -> bool:
    """Whether it is a whole number that an array's length can be."""
    return text.isdecimal() and len(text) <= MOST_DIGITS


def _list(source: TileSourceConfig) -> Listing:
    listing = Listing()
    if source.path.suffix.lower() in _DELIMITERS:
        rows = ((line, row["path"].strip()) for line, row in _rows(source.path, ("path",), listing))
    else:
        text = source.path.read_text(encoding="utf-8-sig")
        rows = ((i, line.strip()) for i, line in enumerate(text.splitlines(), 1))
    for line, path in rows:
        if path:
            listing.images.append((line, source.start() / path))
    return listing


def _folder(source: TileSourceConfig) -> Listing:
    if not source.path.is_dir():
        raise NotADirectoryError(f"{source.path} is no folder")
    return Listing(images=[(0, path) for path in _images(source.path)])


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _rows(
    path: Path, columns: tuple[str, ...], listing: Listing
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a table with their lines; wrong ones become faults."""
    delimiter = _DELIMITERS.get(path.suffix.lower(), ",")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            what = f"has no column {', '.join(missing)}"
            remedy = f"Begin the file with: {delimiter.join(columns)}"
            listing.faults.append(Fault(path, 1, what, remedy))
            return
        for row in reader:
            if any(row[name] is None for name in columns):
                what = f"has fewer columns than {len(reader.fieldnames or ())}"
                listing.faults.append(Fault(path, reader.line_num, what, "Complete the line"))
            else:
                yield reader.line_num, row
