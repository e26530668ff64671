"""Embeddings of labelled tiles, encoded once for every stage that lays them into slides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ruichat.storage.artifacts import write_atomic


@dataclass(frozen=True, slots=True)
class TileBank:
    """Embeddings of all windows.

    Attributes:
        embeddings: float32 [n,v,d], v stains; the first is the window as it is.
        colour: float32 [n,v,m], statistics of colour for the colour-only control; m is up to who
            makes the bank.
        target: float32 [n,c], share of each class.
        partial, source, group, split: as in `TilePool`.
    """

    embeddings: NDArray[np.float32]
    colour: NDArray[np.float32]
    target: NDArray[np.float32]
    partial: NDArray[np.bool_]
    source: NDArray[Any]
    group: NDArray[Any]
    split: NDArray[Any]

    def where(self, keep: NDArray[np.bool_]) -> TileBank:
        """The windows for which `keep` holds."""
        return TileBank(**{name: getattr(self, name)[keep] for name in TileBank.__slots__})

    def save(self, path: Path) -> None:
        """Write as one .npz file."""
        arrays = {name: getattr(self, name) for name in TileBank.__slots__}
        write_atomic(path, lambda file: np.savez(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> TileBank:
        """Read what `save` wrote."""
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in cls.__slots__})


def join_banks(banks: Sequence[TileBank]) -> TileBank:
    """All windows in order; of their views only as many as every bank has."""
    views = min(bank.embeddings.shape[1] for bank in banks)
    parts: dict[str, Any] = {
        name: [getattr(bank, name) for bank in banks] for name in TileBank.__slots__
    }
    for name in ("embeddings", "colour"):
        parts[name] = [part[:, :views] for part in parts[name]]
    return TileBank(**{name: np.concatenate(part) for name, part in parts.items()})
