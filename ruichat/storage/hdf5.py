"""Tables of arrays in HDF5: written row by row, so that memory doesn't grow with them.

Files are as whole, digested and telling of their making as every artefact, and the same content
always gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ruichat.errors import ArtifactError
from ruichat.registry import require
from ruichat.storage.artifacts import (
    MANIFEST_KEY,
    Arrays,
    Artifact,
    Manifest,
    check_kind,
    content_digest,
    damaged,
    parse_manifest,
    write_atomic,
)

if TYPE_CHECKING:
    import h5py

LIBVER = "v108"
"""HDF5 1.8 and later read it; its metadata carries checksums."""

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Column:
    """One dataset of a table.

    Attributes:
        shape: of the whole; the first axis counts rows.
        dtype: of its values.
        attributes: that other programs look for there.
    """

    shape: tuple[int, ...]
    dtype: type[np.generic]
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)


def save_table(
    path: Path, columns: Mapping[str, Column], blocks: Iterable[Arrays], manifest: Manifest
) -> Manifest:
    """Write a table atomically.

    Args:
        path: of the file.
        columns: by name; all have as many rows.
        blocks: of consecutive rows, each with every column; together all rows.
        manifest: what the file is.

    Returns:
        The manifest with its digest.

    Raises:
        ArtifactError: the file can't be written.
    """
    complete: list[Manifest] = []

    def write(file: BinaryIO) -> None:
        stream = _Stream(file)
        with _created(stream) as table:
            _fill(table, columns, blocks)
            digest = content_digest(_datasets(path, table), manifest)
            complete.append(manifest.model_copy(update={"sha256": digest}))
            # Of fixed length: it lies in the checksummed header, not in a heap.
            table.attrs[MANIFEST_KEY] = np.bytes_(complete[0].to_json())
        stream.check()

    write_atomic(path, write)
    return complete[0]


def read_table(path: Path, *, kind: str, schema_version: int) -> Artifact:
    """Read arrays and manifest, refusing anything damaged or of another kind.

    Raises:
        ArtifactError: missing, damaged, changed, of another kind or schema.
    """
    with _opened(path) as table:
        manifest = _manifest(path, table, kind, schema_version)
        arrays = {name: value[...] for name, value in _datasets(path, table).items()}
    if manifest.sha256 != content_digest(arrays, manifest):
        raise damaged(path, "its digest doesn't match its content")
    return Artifact(arrays, manifest)


def check_table(path: Path, *, kind: str, schema_version: int) -> Manifest:
    """The manifest of a table whose content is checked without holding it in memory.

    Raises:
        ArtifactError: missing, damaged, changed, of another kind or schema.
    """
    with _opened(path) as table:
        manifest = _manifest(path, table, kind, schema_version)
        if manifest.sha256 != content_digest(_datasets(path, table), manifest):
            raise damaged(path, "its digest doesn't match its content")
    return manifest


def peek_table(path: Path, *, kind: str, schema_version: int) -> Manifest:
    """The manifest of a table whose content is left unread and so unchecked.

    Raises:
        ArtifactError: missing, damaged, of another kind or schema.
    """
    with _opened(path) as table:
        return _manifest(path, table, kind, schema_version)


def read_attributes(path: Path) -> dict[str, dict[str, Any]]:
    """Attributes of each dataset, as they are in the file.

    Raises:
        ArtifactError: missing or damaged.
    """
    with _opened(path) as table:
        return {name: dict(value.attrs) for name, value in _datasets(path, table).items()}


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def has_manifest(path: Path) -> bool:
    """Whether a file is an HDF5 file of ours; what is damaged may still have been one.

    Raises:
        ArtifactError: it can't be read.
    """
    try:
        if not is_hdf5(path):
            return False
    except OSError as error:
        raise ArtifactError(
            f"{path} can't be read ({error.strerror})", hint="Check its permissions"
        ) from error
    with _opened(path) as table:
        return MANIFEST_KEY in table.attrs


def _fill(table: h5py.File, columns: Mapping[str, Column], blocks: Iterable[Arrays]) -> None:
    datasets: dict[str, h5py.Dataset] = {}
    for name, column in columns.items():
        # Contiguous and never filled in advance: rows lie where they would in any other order.
        dataset = table.create_dataset(
            name, column.shape, column.dtype, fill_time="never", track_times=False
        )
        dataset.attrs.update(column.attributes)
        datasets[name] = dataset
    num_rows = {column.shape[0] for column in columns.values()}
    done = 0
    for block in blocks:
        (num,) = {len(block[name]) for name in columns}
        for name, dataset in datasets.items():
            dataset[done : done + num] = block[name]
        done += num
    assert num_rows == {done}, f"{done} rows written of {num_rows}"


@contextmanager
def _created(stream: _Stream) -> Generator[h5py.File]:
    h5py = require("h5py")
    with h5py.File(stream, "w", libver=(LIBVER, LIBVER), track_times=False) as table:
        yield table


@contextmanager
def _opened(path: Path) -> Generator[h5py.File]:
    """The file, and whatever HDF5 finds wrong with it as an error of ours."""
    h5py = require("h5py")
    try:
        if not is_hdf5(path):
            raise damaged(path, "it isn't HDF5, as these files are since schema 3")
        # Renamed into place when complete, so nobody writes it: some shared disks know no locks.
        with h5py.File(path, "r", locking=False) as table:
            yield table
    except FileNotFoundError:
        raise ArtifactError(f"no file at {path}", hint="Check the path") from None
    except PermissionError as error:
        raise ArtifactError(
            f"{path} can't be read ({error.strerror})", hint="Check its permissions"
        ) from error
    except (OSError, RuntimeError, KeyError, ValueError, MemoryError) as error:
        raise damaged(path, (str(error) or type(error).__name__).splitlines()[0]) from error


def _manifest(path: Path, table: h5py.File, kind: str, schema_version: int) -> Manifest:
    text = table.attrs.get(MANIFEST_KEY)
    if not isinstance(text, bytes):
        raise ArtifactError(
            f"{path} has no manifest, so RuiChat didn't write it",
            hint="Turn other tools' files into bags with `ruichat features import`",
        )
    manifest = parse_manifest(path, text)
    check_kind(path, manifest, kind=kind, schema_version=schema_version)
    return manifest


def _datasets(path: Path, table: h5py.File) -> dict[str, h5py.Dataset]:
    h5py = require("h5py")
    found: dict[str, h5py.Dataset] = {}
    for name, value in table.items():
        if not isinstance(value, h5py.Dataset):
            raise damaged(path, "it holds groups")
        found[str(name)] = value
    return found


class _Stream(io.RawIOBase):
    """What HDF5 writes to: it is never told of a failure, which it doesn't survive.

    A library that can't flush a file can't close it either, and tries again when the process
    ends. So the first error is kept for `check`, and what follows goes nowhere.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._file.read(len(view))
        view[: len(data)] = data
        # Behind the end are bytes that were never written because of an error.
        view[len(data) :] = bytes(len(view) - len(data))
        return len(view)

    def write(self, data: Any) -> int:
        if self._error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error
        return memoryview(data).nbytes

    def truncate(self, size: int | None = None) -> int:
        if self._error is None:
            try:
                return self._file.truncate(size)
            except OSError as error:
                self._error = error
        return 0

    def flush(self) -> None:
        if self._error is None:
            try:
                self._file.flush()
            except OSError as error:
                self._error = error
