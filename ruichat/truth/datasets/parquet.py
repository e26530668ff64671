"""Records of Parquet files, which hold pictures beside questions, as PathVQA is published."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruichat.errors import InputError
from ruichat.registry import require
from ruichat.storage.artifacts import write_atomic
from ruichat.truth.datasets.source import Raw

_ROWS = 16
"""Read at once; each holds a picture."""

_ENDINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"II*\x00": ".tif", b"MM\x00*": ".tif"}


def read_parquet(path: Path, on_rows: Callable[[int, int], None] | None = None) -> Iterator[Raw]:
    """All records; a picture becomes the name under which `write_pictures` writes it.

    A record's line is its number.

    Raises:
        PrerequisiteError: pyarrow isn't installed.
        InputError: the file is damaged.
    """
    for record, row in enumerate(_rows(path, on_rows), start=1):
        value = {name: _named(cell) for name, cell in row.items()}
        yield Raw(value, record, record)


def holds_pictures(path: Path) -> bool:
    """Whether a file has a column of pictures: their bytes, and maybe a name.

    Raises:
        PrerequisiteError: pyarrow isn't installed.
        InputError: the file is damaged.
    """
    arrow = require("pyarrow", extra="parquet")
    with _opened(path) as file:
        types = [field.type for field in file.schema_arrow]
    return any(arrow.types.is_struct(one) and one.get_field_index("bytes") >= 0 for one in types)


def write_pictures(path: Path, folder: Path) -> int:
    """Write the pictures of a file into a folder, each once, named by their digest.

    Returns:
        Number of pictures in the folder that are of this file.

    Raises:
        PrerequisiteError: pyarrow isn't installed.
        InputError: the file is damaged.
        ArtifactError: the folder can't be written.
    """
    names: set[str] = set()
    for row in _rows(path, None):
        for cell in row.values():
            name = _named(cell)
            if isinstance(name, str) and name is not cell and name not in names:
                names.add(name)
                write_atomic(folder / name, cell["bytes"])
    return len(names)


def _rows(path: Path, on_rows: Callable[[int, int], None] | None) -> Iterator[dict[str, Any]]:
    done = 0
    with _opened(path) as file:
        for batch in file.iter_batches(_ROWS):
            yield from _plain(path, batch, done)
            done += len(batch)
            if on_rows is not None:
                on_rows(done, file.metadata.num_rows)


def _plain(path: Path, batch: Any, done: int) -> Iterator[dict[str, Any]]:
    """The rows of a batch; Parquet itself doesn't ask whether its texts are texts."""
    for at in range(len(batch)):
        try:
            yield batch.slice(at, 1).to_pylist()[0]
        except ValueError as error:
            raise InputError(
                f"{path.name} row {done + at + 1} holds what can't be read: {error}",
                hint="Write its texts as UTF-8",
            ) from error


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    arrow = require("pyarrow", extra="parquet")
    tables: Any = require("pyarrow.parquet", extra="parquet")
    try:
        with tables.ParquetFile(path) as file:
            yield file
    except (arrow.ArrowException, OSError) as error:
        raise InputError(
            f"{path.name} is no sound Parquet file: {str(error).splitlines()[0]}",
            hint="Fetch it again",
        ) from error


def _named(cell: Any) -> Any:
    """The name of a picture; anything else as it is."""
    if not isinstance(cell, dict) or not isinstance(cell.get("bytes"), bytes):
        return cell
    data: bytes = cell["bytes"]
    for start, ending in _ENDINGS.items():
        if data.startswith(start):
            return hashlib.sha256(data).hexdigest()[:24] + ending
    return cell
