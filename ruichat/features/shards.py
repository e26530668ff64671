"""Finished stretches of one extraction on disk: an interrupted one goes on behind them."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from ruichat.errors import ArtifactError
from ruichat.storage.artifacts import Manifest, read_checked, save_arrays

log = logging.getLogger(__name__)

SHARD_KIND = "feature-shard"
SHARD_SCHEMA = 2

_NAME = re.compile(r"(\d{9})-(\d{9})\.shard")


@dataclass(frozen=True)
class Part:
    """What was made of consecutive tiles, in the order of the grid."""

    embeddings: Float32[NDArray[np.float32], "n d"]
    focus: Float32[NDArray[np.float32], " n"]
    hematoxylin: Float32[NDArray[np.float32], " n"]
    eosin: Float32[NDArray[np.float32], " n"]

    def __len__(self) -> int:
        return len(self.focus)


def join(parts: list[Part]) -> Part:
    """Parts that follow each other, as one."""
    return Part(
        np.concatenate([p.embeddings for p in parts]),
        np.concatenate([p.focus for p in parts]),
        np.concatenate([p.hematoxylin for p in parts]),
        np.concatenate([p.eosin for p in parts]),
    )


@runtime_checkable
class Finished(Protocol):
    """Where finished parts are kept."""

    def spans(self) -> list[tuple[int, int]]:
        """First and end of every part that is there and sound, ascending and disjoint."""
        ...

    def write(self, first: int, part: Part) -> None:
        """Keep a part whose first tile is `first`."""
        ...

    def parts(self) -> Iterator[Part]:
        """All parts in the order of the grid."""
        ...


class MemoryShards:
    """Parts of an extraction that keeps nothing on disk."""

    def __init__(self) -> None:
        self._parts: dict[int, Part] = {}

    def spans(self) -> list[tuple[int, int]]:
        """First and end of every part."""
        return [(first, first + len(self._parts[first])) for first in sorted(self._parts)]

    def write(self, first: int, part: Part) -> None:
        """Keep a part."""
        self._parts[first] = part

    def parts(self) -> Iterator[Part]:
        """All parts in the order of the grid."""
        return (self._parts[first] for first in sorted(self._parts))


class DiskShards:
    """Parts as files in a folder; whoever uses them holds the extraction's lock.

    Args:
        folder: for the shards of this extraction alone.
        key: of the extraction; shards of any other are ignored.
        dim: width of its embeddings.
    """

    def __init__(self, folder: Path, key: str, dim: int) -> None:
        self._folder, self._key, self._dim = folder, key, dim

    def spans(self) -> list[tuple[int, int]]:
        """First and end of every sound shard; one that overlaps an earlier one is ignored."""
        found: list[tuple[int, int]] = []
        for first, end in self._named():
            if found and first < found[-1][1]:
                continue
            if self._read(first, end) is not None:
                found.append((first, end))
        return found

    def write(self, first: int, part: Part) -> None:
        """Keep a part.

        Raises:
            ArtifactError: the disk is full or the folder can't be written.
        """
        manifest = Manifest(
            schema_version=SHARD_SCHEMA, kind=SHARD_KIND, made_from={"key": self._key}
        )
        save_arrays(self._path(first, first + len(part)), vars(part), manifest)

    def parts(self) -> Iterator[Part]:
        """All parts in the order of the grid, one in memory at a time.

        Raises:
            ArtifactError: a shard was damaged since it was written.
        """
        for first, end in self.spans():
            part = self._read(first, end)
            if part is None:
                raise ArtifactError(
                    f"{self._path(first, end)} changed while it was in use",
                    hint="Check the disk, and extract the slide again",
                )
            yield part

    @property
    def num_files(self) -> int:
        """Shards in the folder, sound or not; a cheap measure of progress."""
        return len(self._named())

    def remove(self) -> None:
        """Remove all shards and what killed writers left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _named(self) -> list[tuple[int, int]]:
        if not self._folder.is_dir():
            return []
        names = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted((int(name[1]), int(name[2])) for name in names if name)

    def _read(self, first: int, end: int) -> Part | None:
        path = self._path(first, end)
        try:
            artifact = read_checked(path, kind=SHARD_KIND, schema_version=SHARD_SCHEMA)
        except ArtifactError as error:
            log.warning("%s; its tiles are encoded again", error.message)
            return None
        if artifact.manifest.made_from != {"key": self._key}:
            return None
        part = Part(**artifact.arrays)
        return part if part.embeddings.shape == (end - first, self._dim) else None

    def _path(self, first: int, end: int) -> Path:
        return self._folder / f"{first:09d}-{end:09d}.shard"
