"""Slide-like bags: tiles of known class laid into drawn layouts, one stain to a slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from ruichat.errors import InputError
from ruichat.histology import KEYS
from ruichat.model.regions import Regions
from ruichat.truth.bank import TileBank
from ruichat.truth.symbolic import SymbolicConfig, SymbolicSlide, draw_layout
from ruichat.truth.tiles import Split

PURE = 0.7
"""A window stands for a class from this share on; mixed windows stand for none."""


@dataclass(frozen=True, slots=True)
class LaidSlide:
    """A slide-like bag and its truth.

    Attributes:
        embeddings: float32 [n,d].
        colour: float32 [n,m], the colour-only control's view of each tile.
        xy0: int64 [n,2], top left corners of the tiles in micrometres, which are its pixels.
        span0: side of a tile, micrometres.
        regions: which tile lies in which region.
        truth: what each region holds.
    """

    embeddings: NDArray[np.float32]
    colour: NDArray[np.float32]
    xy0: NDArray[np.int64]
    span0: int
    regions: Regions
    truth: SymbolicSlide


class BagMaker:
    """Lays tiles of one split into bags.

    Args:
        bank: embeddings of all windows.
        split: whose windows may be used; source groups of other splits never enter.
        config: how layouts are drawn.

    Raises:
        InputError: the split holds no pure windows.
    """

    def __init__(self, bank: TileBank, split: Split, config: SymbolicConfig) -> None:
        self._bank = bank
        self._config = config
        main = bank.target.argmax(1)
        usable = (bank.split == split) & (bank.target.max(1) >= PURE)
        self._rows = {
            c: np.flatnonzero(usable & (main == c))
            for c in range(len(KEYS))
            if (usable & (main == c)).any()
        }
        if not self._rows:
            raise InputError(f"the tile bank holds no windows of split {split!r}")

    @property
    def spread(self) -> Float[Tensor, " d"]:
        """Standard deviation of each component over the split's windows."""
        rows = np.concatenate(list(self._rows.values()))
        return torch.from_numpy(self._bank.embeddings[rows, 0].std(0))

    @property
    def classes(self) -> tuple[str, ...]:
        """Keys of the classes that this split can show."""
        return tuple(KEYS[c] for c in self._rows)

    def draw(self, rng: np.random.Generator, *, stains: int | None = None) -> LaidSlide:
        """Lay one slide.

        Args:
            rng: all choices come from it.
            stains: how many of the bank's stains may be drawn; 1 is tiles as they are.
        """
        layout = draw_layout(rng, self._config, allowed=self.classes)
        views = self._bank.embeddings.shape[1]
        view = int(rng.integers(stains or views))
        picked = np.empty(len(layout.tile_class), np.int64)
        for c in np.unique(layout.tile_class):
            cells = np.flatnonzero(layout.tile_class == c)
            picked[cells] = rng.choice(self._rows[int(c)], len(cells))
        return LaidSlide(
            self._bank.embeddings[picked, view],
            self._bank.colour[picked, view],
            layout.xy0,
            layout.span0,
            layout.regions,
            layout.slide,
        )


class MixedBags:
    """Slides from several makers, each drawn with its share.

    Args:
        makers: of one encoder.
        shares: how often each is drawn from; they sum to 1.
    """

    def __init__(self, makers: Sequence[BagMaker], shares: Sequence[float]) -> None:
        self._makers, self._ends = tuple(makers), np.cumsum(shares)
        self.spread = torch.stack([maker.spread for maker in makers]).mean(0)

    def draw(self, rng: np.random.Generator, *, stains: int | None = None) -> LaidSlide:
        """Lay one slide; see `BagMaker.draw`."""
        at = min(int(np.searchsorted(self._ends, rng.random())), len(self._makers) - 1)
        return self._makers[at].draw(rng, stains=stains)


SlideMaker = BagMaker | MixedBags
"""Lays slides to train and to measure on."""


@dataclass(frozen=True, slots=True)
class BagBatch:
    """Padded tiles and regions of b slides, as the model takes them."""

    tile_embeddings: Float[Tensor, "b n d"]
    tile_region: Int[Tensor, "b n"]
    region_geometry: Float[Tensor, "b k g"]
    region_mask: Bool[Tensor, "b k"]

    def to(self, device: torch.device) -> BagBatch:
        """Where it is computed with."""
        return BagBatch(**{name: value.to(device) for name, value in self.inputs.items()})

    @property
    def inputs(self) -> dict[str, Tensor]:
        """As the model's arguments."""
        return {name: getattr(self, name) for name in BagBatch.__slots__}


def collate_bags(slides: Sequence[LaidSlide]) -> BagBatch:
    """Pad to the most tiles and the most regions."""
    return pad_bags(
        [slide.embeddings for slide in slides],
        [slide.regions.assignment for slide in slides],
        [slide.regions.geometry for slide in slides],
    )


def pad_bags(
    embeddings: Sequence[NDArray[np.float32]],
    region: Sequence[NDArray[np.int64]],
    geometry: Sequence[NDArray[np.float32]],
) -> BagBatch:
    """Pad to the most tiles and the most regions.

    Args:
        embeddings: [n,d] of each slide's tiles.
        region: [n] of each slide's tiles, in which region it lies.
        geometry: [k,g] of each slide's regions.
    """
    b, d, g = len(embeddings), embeddings[0].shape[1], geometry[0].shape[1]
    n, k = max(map(len, region)), max(map(len, geometry))
    tiles, of_tile = np.zeros((b, n, d), np.float32), np.full((b, n), -1, np.int64)
    of_region, mask = np.zeros((b, k, g), np.float32), np.zeros((b, k), bool)
    for row, (tile, own, place) in enumerate(zip(embeddings, region, geometry, strict=True)):
        tiles[row, : len(tile)], of_tile[row, : len(tile)] = tile, own
        of_region[row, : len(place)], mask[row, : len(place)] = place, True
    return BagBatch(*map(torch.from_numpy, (tiles, of_tile, of_region, mask)))
