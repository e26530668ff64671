"""An encoder made of a module, run in the way that was chosen for it."""

from __future__ import annotations

import functools
import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from torch import nn

from ruichat.features.card import EncoderCard
from ruichat.features.cores import usable_cores
from ruichat.features.encoders.macenko import Stains
from ruichat.features.encoders.preprocess import fit
from ruichat.features.runtime.batches import Batches
from ruichat.features.runtime.choice import Note, choose, cpu_name, place_of
from ruichat.features.runtime.memory import first_size
from ruichat.features.runtime.runners import Runner, TileModule, Tiles, start
from ruichat.features.runtime.ways import RunConfig, Way

log = logging.getLogger(__name__)

SAMPLE_SIDE = 2
"""Tiles a side of the drawing that ways are measured on."""

SAMPLE_ON_GPU = 16
"""Times that the drawing is repeated there: a few tiles don't fill it."""


@dataclass(frozen=True)
class Parts:
    """What an encoder is made of once its files are read.

    Attributes:
        module: from normalised pixels [b,3,h,w] to embeddings [b,d], in float32, on the CPU.
        stains: those that tiles are given, where its card names an image.
    """

    module: nn.Module
    stains: Stains | None = None


class ModuleEncoder:
    """An encoder of a published architecture; its files are read when it is first needed.

    For one way, embeddings don't hang on the other tiles of a batch, its size or the number of
    threads but for the last bits of a float32: libraries promise no more, though on the machines
    tried so far the bits were the same.

    Args:
        card: what it is.
        read: gives its parts; the module is let go once a runtime has made its own of it.
        digest: of its files.
        config: how it may be run.
        cache: folder in which the measured choice is kept.
        note: told what takes long.
    """

    def __init__(
        self,
        card: EncoderCard,
        read: Callable[[], Parts],
        digest: str,
        config: RunConfig,
        *,
        cache: Path,
        note: Note | None = None,
    ) -> None:
        self.card = card
        self.digest = digest
        self._config = config
        self._cache = cache
        self._note: Note = note or log.info
        self._read = read
        self._module: TileModule | None = None
        self._stains: Stains | None = None
        self._batches: Batches | None = None
        self._way: Way | None = None

    @property
    def way(self) -> Way:
        """How it is run, measured when this machine runs it for the first time.

        Raises:
            ConfigError, PrerequisiteError: this machine can't do what the config wants.
            ModelError: no allowed way keeps embeddings close to float32.
        """
        if self._way is None:
            self._way = self._chosen()
        return self._way

    def _chosen(self) -> Way:
        ways = self._config.ways(has_gpu=torch.cuda.is_available())
        if len(ways) == 1 and (self._config.trusted or ways[0].precision == "fp32"):
            return ways[0]
        on_gpu = ways[0].runtime == "cuda"
        device = torch.cuda.get_device_name(self._gpu) if on_gpu else cpu_name()
        threads = self._config.num_threads or len(usable_cores())
        repeats = SAMPLE_ON_GPU if on_gpu else 1
        sample = functools.partial(self._sample, repeats)
        place = place_of(self.digest, ways, device, threads)
        return choose(ways, self._start, sample, place=place, cache=self._cache, note=self._note)

    def encode(
        self, tiles: UInt8[NDArray[np.uint8], "n h w 3"]
    ) -> Float32[NDArray[np.float32], "n d"]:
        """One embedding per RGB tile.

        Raises:
            InputError: the tiles aren't of the size that the card states.
            ModelError: memory doesn't suffice for a single tile.
        """
        if len(tiles) == 0:
            return np.zeros((0, self.card.dim), np.float32)
        self.load()
        assert self._batches is not None
        fitted = np.ascontiguousarray(fit(tiles, self.card, self._stains))
        return self._batches(cast(Tiles, fitted))

    def load(self) -> None:
        """Make it ready to encode, which it else is when the first tile comes.

        Raises:
            ModelError: its files are damaged or another encoder's.
            ConfigError, PrerequisiteError, ModelError: as `way`.
        """
        if self._batches is None:
            self._batches = self._ready()

    @property
    def _gpu(self) -> str:
        return "cuda" if self._config.device == "auto" else self._config.device

    def _ready(self) -> Batches:
        run = self._start(self.way)
        device = self._gpu if self.way.runtime == "cuda" else None
        size = first_size(self._tile_module(), self._size, device=device)
        self._module = None
        gc.collect()
        return Batches(run, size)

    def _start(self, way: Way) -> Runner:
        threads = self._config.num_threads
        return start(self._tile_module(), way, self._size, device=self._gpu, num_threads=threads)

    def _tile_module(self) -> TileModule:
        assert self._batches is None, "the module is let go once a runner is kept"
        if self._module is None:
            parts, card = self._read(), self.card
            self._stains = parts.stains
            dtype = torch.uint8 if parts.stains is None else torch.float32
            self._module = TileModule(parts.module, card.mean, card.std, dtype).eval()
        return self._module

    def _sample(self, repeats: int) -> Tiles:
        self._tile_module()  # the stains come with it
        return draw_sample(self.card, repeats, stains=self._stains)

    @property
    def _size(self) -> tuple[int, int]:
        return self.card.input_px, self.card.input_px


def draw_sample(card: EncoderCard, repeats: int = 1, *, stains: Stains | None = None) -> Tiles:
    """Drawn tissue as the encoder's network sees it."""
    from ruichat.slide.phantom import PhantomConfig, draw_phantom

    side, num = card.tile_px, SAMPLE_SIDE
    config = PhantomConfig(
        seed=0, width0=num * side, height0=num * side, mpp=card.tile_mpp, fill=True
    )
    rows = draw_phantom(config).rgb.reshape(num, side, num, side, 3).swapaxes(1, 2)
    tiles = fit(np.ascontiguousarray(rows.reshape(-1, side, side, 3)), card, stains)
    return cast(Tiles, np.ascontiguousarray(np.concatenate([tiles] * repeats)))
