"""Manifests and lists of tiles: read row by row, everything that is wrong named with its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
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
        InputError: something is wrong with a line; the first such is named.
    """
    parts: list[TileSet] = []
    for source in sources:
        listing = read_listing(source)
        if listing.faults:
            first, more = listing.faults[0], len(listing.faults) - 1
            raise InputError(
                f"{first}{f' ({more} more)' if more else ''}",
                hint=f"{first.remedy}. All are listed by: ruichat align data check-tiles",
            )
        parts += [listing.tiles()] * source.repeat
    return JoinedTiles(parts)


def _manifest(source: TileSourceConfig) -> Listing:
    listing, total = Listing(), 0
    for line, row in _rows(source.path, COLUMNS, listing):
        path, count, end = (row[name].strip() for name in COLUMNS)
        if not path or not count.isdecimal() or not end.isdecimal():
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
    found = sorted(p for p in source.path.rglob("*") if p.suffix.lower() in SUFFIXES)
    return Listing(images=[(0, path) for path in found])


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
