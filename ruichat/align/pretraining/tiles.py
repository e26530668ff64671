"""Tiles to train an encoder on, read one by one: image lists, folders, manifests of HDF5 files."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from pydantic import Field

from ruichat.config import Config
from ruichat.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
"""Of images in a folder."""

PATCHES = "patches"
"""Name of the HDF5 dataset with tiles. RuiPath's word; patches of a transformer are others."""

Tile = UInt8[NDArray[np.uint8], "h w 3"]


class TileSourceConfig(Config):
    """Where tiles are."""

    kind: Literal["manifest", "list", "folder"]
    """RuiPath's manifest (CSV or TSV: h5_path, patch_count, cum_sum); a list of images (text with
    a path per line, or CSV or TSV with a column `path`); a folder of images, with its folders."""
    path: Path
    root: Path | None = None
    """What relative paths in a manifest or list start from; the folder it is in if not given."""
    repeat: int = Field(1, ge=1)
    """How often an epoch shows each tile."""

    def under(self, folder: Path) -> TileSourceConfig:
        """With paths that start from a folder, unless they are absolute."""
        root = None if self.root is None else folder / self.root
        return self.model_copy(update={"path": folder / self.path, "root": root})

    def start(self) -> Path:
        """What relative paths start from."""
        return self.root or self.path.parent


class TileSet(ABC):
    """Tiles by number; nothing is read before it is asked for."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, number: int) -> Tile:
        """One tile, RGB.

        Raises:
            InputError: it can't be read.
        """
        ...

    @abstractmethod
    def name(self, number: int) -> str:
        """What a message calls a tile: its file, and the place in it."""
        ...


@dataclass(frozen=True)
class ImageTiles(TileSet):
    """One image file per tile."""

    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Tile:
        from PIL import Image

        path = self.paths[number]
        try:
            with Image.open(io.BytesIO(path.read_bytes())) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
            raise unreadable(path, error) from error

    def name(self, number: int) -> str:
        return str(self.paths[number])


@dataclass(frozen=True)
class PatchFile:
    """One HDF5 file of a manifest.

    Attributes:
        path: of the file.
        quota: tiles that an epoch takes from it.
    """

    path: Path
    quota: int


class PatchTiles(TileSet):
    """Tiles in HDF5 files, dataset `patches` uint8 [n,h,w,3].

    A file's quota needn't be the number of its tiles: tile i of a quota of m is the middle one of
    the i-th of m equal parts of the file, so a smaller quota thins evenly and a larger one
    repeats evenly.

    Source:
        SHDMIC/RuiPath: `patch_count` is a quota. There a part's tile is drawn by a hash.
    """

    def __init__(self, files: Sequence[PatchFile]) -> None:
        self._files = [file for file in files if file.quota]
        self._ends = list(accumulate(file.quota for file in self._files))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> Tile:
        import h5py

        file, within = self._place(number)
        try:
            # Opened for each tile: a handle must not cross threads that read at the same time.
            with h5py.File(file.path, "r") as content:
                patches: Any = content[PATCHES]
                row = (2 * within + 1) * len(patches) // (2 * file.quota)
                tile = np.asarray(patches[row])
            if tile.dtype != np.uint8 or tile.ndim != 3 or tile.shape[-1] != 3:
                raise ValueError(
                    f"{PATCHES} holds {tile.dtype} {list(tile.shape)}; uint8 [h,w,3] is needed"
                )
            return tile
        except (OSError, KeyError, ValueError, IndexError, TypeError) as error:
            raise unreadable(file.path, error) from error

    def name(self, number: int) -> str:
        file, within = self._place(number)
        return f"{file.path}#{within}"

    def _place(self, number: int) -> tuple[PatchFile, int]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        at = bisect_right(self._ends, number)
        file = self._files[at]
        return file, number - (self._ends[at] - file.quota)


@dataclass(frozen=True)
class JoinedTiles(TileSet):
    """Several sets, one behind the other."""

    parts: Sequence[TileSet]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, number: int) -> Tile:
        part, within = self._place(number)
        return part[within]

    def name(self, number: int) -> str:
        part, within = self._place(number)
        return part.name(within)

    def _place(self, number: int) -> tuple[TileSet, int]:
        for part in self.parts:
            if number < len(part):
                return part, number
            number -= len(part)
        raise IndexError(number)


def unreadable(path: Path, error: Exception) -> InputError:
    """The error of a file of tiles that can't be read."""
    why = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    return InputError(
        f"{path} can't be read as tiles ({why})",
        hint="Restore the file or take it out of the list; all such are listed by: "
        "ruichat align data check-tiles",
    )
