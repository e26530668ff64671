"""A file of our format by number, for training: any line at once, none kept in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ruichat.errors import ArtifactError, InputError
from ruichat.storage.artifacts import check_kind, parse_manifest, write_atomic
from ruichat.truth.datasets.check import EmptySplitError
from ruichat.truth.datasets.convert import KIND, SCHEMA_VERSION, manifest_path
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.finding import Wrong, wrongs_of
from ruichat.truth.datasets.json_stream import parse_record
from ruichat.truth.datasets.source import file_digest

_BLOCK = 1 << 20


class DialogueFile(Sequence[Dialogue]):
    """The dialogues of a file that `convert`, `split` or a user wrote.

    Processes that load data get copies of their own by pickling; each opens the file for itself.

    Args:
        path: of the file; a manifest beside it is compared with it.

    Raises:
        InputError: the file can't be read.
        ArtifactError: it isn't what its manifest says.
        EmptySplitError: it holds no line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sha256 = file_digest(path)
        sources = _check_manifest(path, self.sha256)
        self._starts = _line_starts(path)
        self._source = sources[0] if len(sources) == 1 else ""
        self._lines = _read_lines(path, len(self._starts))
        if not len(self._starts):
            raise EmptySplitError(
                f"{path.name} holds no dialogues", hint="Give a file that holds some"
            )
        self._open: tuple[int, BinaryIO] | None = None

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Dialogue: ...
    @overload
    def __getitem__(self, index: slice) -> list[Dialogue]: ...
    def __getitem__(self, index: int | slice) -> Dialogue | list[Dialogue]:
        """The dialogue of a line, from 0.

        Raises:
            IndexError: there is none of that number.
            InputError: the line is none.
        """
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        at = index % len(self)
        try:
            return Dialogue.model_validate(parse_record(self._line(at).decode("utf-8-sig")))
        except (Wrong, ValidationError, UnicodeDecodeError) as error:
            raise _refused(self.path, at, error) from None

    def __iter__(self) -> Iterator[Dialogue]:
        return (self[at] for at in range(len(self)))

    def place(self, at: int) -> str:
        """Where a dialogue stands, for messages: in the file it was converted from, if known."""
        if self._source and self._lines is not None:
            return f"{self._source} line {self._lines[at]}"
        return f"{self.path.name} dialogue {at + 1}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def _line(self, at: int) -> bytes:
        """Bytes of a line; read at their place, so that threads don't move each other's."""
        # Held while it is read: of two threads that open at once, one's file is let go of.
        file, start = self._file(), int(self._starts[at])
        last = at + 1 == len(self)
        end = os.fstat(file.fileno()).st_size if last else int(self._starts[at + 1])
        return os.pread(file.fileno(), end - start, start).partition(b"\n")[0]

    def _file(self) -> BinaryIO:
        # A forked process must not share its parent's place in the file.
        found = self._open
        if found is None or found[0] != os.getpid():
            found = self._open = os.getpid(), self.path.open("rb")
        return found[1]


def write_lines(path: Path, lines: NDArray[np.int64]) -> None:
    """Write beside a converted file at which lines its dialogues stood, [n] from 1.

    Raises:
        ArtifactError: it can't be written.
    """
    write_atomic(_lines_path(path), lambda file: np.save(file, lines))


def _lines_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lines.npy")


def _read_lines(path: Path, num: int) -> NDArray[np.int64] | None:
    """As `write_lines` wrote them; None without, or if they are of another file."""
    beside = _lines_path(path)
    try:
        lines = np.load(beside)
    except (OSError, EOFError, ValueError):
        return None
    return lines if lines.shape == (num,) else None


def _line_starts(path: Path) -> NDArray[np.int64]:
    """Where lines begin that hold anything."""
    starts: list[NDArray[np.int64]] = []
    at = 0
    with path.open("rb") as file:
        for line in _blocks_of_lines(file):
            ends = np.flatnonzero(np.frombuffer(line, np.uint8) == ord("\n")) + 1
            begins = np.concatenate([[0], ends])
            lengths = np.diff(np.concatenate([begins, [len(line)]]))
            # Shorter than the shortest dialogue: an empty line, with or without a carriage return.
            starts.append((begins[lengths > 2] + at).astype(np.int64))
            at += len(line)
    return np.concatenate(starts) if starts else np.zeros(0, np.int64)


def _blocks_of_lines(file: BinaryIO) -> Iterator[bytes]:
    """Blocks that end where a line does."""
    while block := file.read(_BLOCK):
        yield block + file.readline()


def _check_manifest(path: Path, digest: str) -> list[str]:
    """Names of the files that it was made from; none without a manifest."""
    beside = manifest_path(path)
    if not beside.exists():
        return []
    manifest = parse_manifest(beside, beside.read_bytes())
    check_kind(beside, manifest, kind=KIND, schema_version=SCHEMA_VERSION)
    if manifest.sha256 != digest:
        raise ArtifactError(
            f"{path.name} has changed since {beside.name} was written",
            hint="Make it again, or delete the manifest where the change is meant",
        )
    return list(manifest.made_from)


def _refused(path: Path, at: int, error: Exception) -> InputError:
    where = f"{path.name} dialogue {at + 1}"
    if isinstance(error, ValidationError):
        error = next(wrongs_of(error))
    if isinstance(error, Wrong):
        field = f", {error.field}" if error.field else ""
        return InputError(f"{where}{field}: {error.message}", hint=error.remedy)
    return InputError(f"{where}: {error}", hint="Save the file as UTF-8")
