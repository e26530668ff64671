"""Records one by one from JSON, JSONL, CSV and Parquet of any length, each with its place."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from ruichat.errors import InputError
from ruichat.truth.datasets.finding import Wrong

Container = Literal["list", "lines", "parts", "table", "columns"]
"""A JSON list; JSON objects one to a line; a JSON object of such lists; CSV; Parquet."""

OnBytes = Callable[[int, int], None]
"""Called with bytes read and bytes in all."""

PARTS = ("train", "val", "valid", "validation", "test")
"""Keys of a JSON object of lists."""

_PICKLES = frozenset({".pkl", ".pickle", ".pt", ".pth"})
_PARQUET = b"PAR1"
_WIDE = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Raw:
    """One record as its file holds it.

    Attributes:
        value: fields by name.
        record: its number in the file, from 1.
        line: where it begins, from 1.
        part: key of the list that it is in, where the file has several.
    """

    value: dict[str, Any]
    record: int
    line: int
    part: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that isn't one.

    Attributes:
        wrong: why.
        record: its number in the file, from 1.
        line: where it begins, from 1.
    """

    wrong: Wrong
    record: int
    line: int


def read_raw(path: Path, on_bytes: OnBytes | None = None) -> Iterator[Raw | Unreadable]:
    """All records of a file; memory holds one at a time.

    Raises:
        InputError: the file is missing, empty, or none of the containers.
    """
    from ruichat.truth.datasets import json_stream, parquet

    container = find_container(path)
    if container == "columns":
        yield from parquet.read_parquet(path, on_bytes)
        return
    with _open(path) as file:
        size = path.stat().st_size
        counted = _Counted(file, size, on_bytes)
        match container:
            case "table":
                yield from _read_table(counted)
            case "lines":
                yield from json_stream.read_lines(counted)
            case "list":
                yield from json_stream.read_list(counted)
            case _:
                yield from json_stream.read_parts(counted)


def find_container(path: Path) -> Container:
    """What holds the records, by the file's suffix and its first characters.

    Raises:
        InputError: the file is missing, empty, or none of the containers.
    """
    from ruichat.truth.datasets.json_stream import opens_parts

    with _open(path) as file:
        head = file.read(1 << 16)
    if path.suffix.lower() in _PICKLES or head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04"):
        raise InputError(
            f"{path.name} is a pickle, which runs whatever code it holds when it is read",
            hint="Write it out as JSON where you trust it",
        )
    if head.startswith(_PARQUET):
        return "columns"
    if head.startswith(_WIDE):
        raise InputError(f"{path.name} is UTF-16", hint="Save the file as UTF-8")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise InputError(f"{path.name} is empty", hint="Fetch or write it again")
    if path.suffix.lower() == ".csv":
        return "table"
    if start[:1] == b"[":
        return "list"
    if start[:1] == b"{":
        return "parts" if opens_parts(start) else "lines"
    raise InputError(
        f"{path.name} begins with neither '[' nor '{{' and isn't called .csv",
        hint="Give a JSON, JSONL, CSV or Parquet file",
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex.

    Raises:
        InputError: it can't be read.
    """
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror})", hint="Check the path and its permissions"
        ) from error


class _Counted(io.RawIOBase):
    """A file that tells how far it was read."""

    def __init__(self, file: BinaryIO, size: int, on_bytes: OnBytes | None) -> None:
        self._file, self._size, self._on_bytes, self._done = file, size, on_bytes, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        self._done += len(block)
        if self._on_bytes is not None:
            self._on_bytes(self._done, self._size)
        return len(block)


def _read_table(file: io.RawIOBase) -> Iterator[Raw | Unreadable]:
    text = io.TextIOWrapper(
        io.BufferedReader(file, 1 << 20),
        encoding="utf-8-sig",
        errors="surrogateescape",
        newline="",
    )
    rows = csv.reader(text, strict=True)
    header = _header(rows)
    record = 0
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            record += 1
            yield Unreadable(_bad_row(error), record, line)
            continue
        if row is None:
            return
        if not row:
            continue
        record += 1
        if len(row) != len(header):
            yield Unreadable(_bad_width(len(row), len(header)), record, line)
            continue
        yield Raw(dict(zip(header, row, strict=True)), record, line)


def _header(rows: Iterator[list[str]]) -> list[str]:
    try:
        header = next(rows, [])
    except csv.Error as error:
        raise InputError(
            f"the first line isn't a row of CSV ({error})", hint="Give a file with a header"
        ) from error
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InputError(f"column {twice!r} is there twice", hint="Rename one of them")
    return header


def _bad_row(error: csv.Error) -> Wrong:
    if "field limit" in str(error):
        message = f"a cell has more than {csv.field_size_limit():,} characters"
        return Wrong("", "too_long", message, "Shorten it; a quote may be missing before it")
    return Wrong("", "bad_csv", f"not a row of CSV ({error})", "Check the quotes in and before it")


def _bad_width(found: int, wanted: int) -> Wrong:
    return Wrong(
        "",
        "bad_csv",
        f"the row has {found} cells; the header has {wanted}",
        "Put cells that hold a comma in quotes",
    )
