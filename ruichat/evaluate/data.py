"""The tiles of an evaluation, read and encoded when first asked for; what is missing is noted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ruichat.errors import ConfigError, InputError
from ruichat.evaluate.config import EvaluateConfig, PhantomSuite
from ruichat.evaluate.reading import EncodedTiles, TileReader
from ruichat.evaluate.tile_scores import TileSet
from ruichat.histology import KEYS
from ruichat.truth.bags import PURE
from ruichat.truth.tile_folders import read_folder
from ruichat.truth.tiles import Split, TilePool, draw_pool, read_source

Counts = Callable[[str], Callable[[int, int], None]]


class EvaluationData:
    """Sources and folders of one config.

    Args:
        config: names them.
        root: the data folder.
        reader: encodes.
        counts: gives a callback of items done for a stage's name.

    Attributes:
        digests: SHA-256 over the pixels that were used, by name.
        skipped: what couldn't be read, and why.
    """

    def __init__(
        self, config: EvaluateConfig, root: Path, reader: TileReader, counts: Counts
    ) -> None:
        self._config, self._root = config, root
        self._reader, self._counts = reader, counts
        self._sets: dict[str, TileSet | None] = {}
        self._pools: dict[str, tuple[TilePool, EncodedTiles]] = {}
        self.digests: dict[str, str] = {}
        self.skipped: list[str] = []

    @property
    def reader(self) -> TileReader:
        """What encodes tiles."""
        return self._reader

    def tile_set(self, name: str) -> TileSet | None:
        """A source's or folder's tiles; None, with the reason noted, if they can't be read.

        Raises:
            ConfigError: the config defines no source or folder of that name.
        """
        if name not in self._sets:
            try:
                self._sets[name] = self._read(name)
            except InputError as error:
                self.skipped.append(f"{name}: {error.message}")
                self._sets[name] = None
        return self._sets[name]

    def pool(self, name: str) -> tuple[TilePool, EncodedTiles] | None:
        """A source's windows with the class shares of each, pixels left out."""
        tile_set = self.tile_set(name)
        return None if tile_set is None else self._pools[name]

    @property
    def source_names(self) -> tuple[str, ...]:
        """Sources that training knows."""
        return tuple(source.name for source in self._config.sources)

    def phantoms(self, config: PhantomSuite, *, for_control: bool) -> tuple[TilePool, EncodedTiles]:
        """Windows of drawn fields: of held-out seeds, or of training seeds for the control."""
        first = config.control_seed if for_control else config.first_seed
        num = config.num_control_fields if for_control else config.num_fields
        split: Split = "train" if for_control else "test"
        name = f"phantoms {first}-{first + num - 1}"
        self._counts(f"drawing {name}")(0, 0)
        pool = draw_pool(
            range(first, first + num), split=split, windows_per_phantom=config.windows_per_field
        )
        tiles = self._reader.encode(pool.rgb, tick=self._counts(f"encoding {name}"))
        self.digests[name] = tiles.digest
        return _without_pixels(pool), tiles

    def _read(self, name: str) -> TileSet:
        source = next((s for s in self._config.sources if s.name == name), None)
        folder = next((f for f in self._config.folders if f.name == name), None)
        self._counts(f"reading {name}")(0, 0)
        probes = self._config.tiles.probes if self._config.tiles else ()
        suite = self._config.tiles
        with_random = bool(suite and suite.untrained and any(p.name == name for p in probes))
        tick = self._counts(f"encoding {name}")
        if source is not None:
            pool = read_source(source, self._root)
            tiles = self._reader.encode(pool.rgb, with_random=with_random, tick=tick)
            self._pools[name] = (_without_pixels(pool), tiles)
            self.digests[name] = tiles.digest
            return _known_set(name, pool, tiles)
        if folder is not None:
            card = self._reader.encoder.card
            read = read_folder(folder, self._root, tile_px=card.tile_px, tile_mpp=card.tile_mpp)
            tiles = self._reader.encode(read.rgb, with_random=with_random, tick=tick)
            self.digests[name] = tiles.digest
            self.skipped += [f"{name}: {note}" for note in read.notes]
            everything = np.ones(len(read.label), bool)
            return TileSet(name, tiles, read.label, read.group, read.number, everything, True)
        raise ConfigError(
            f"the config defines no source or folder {name!r}", hint="Add it to sources or folders"
        )


def _known_set(name: str, pool: TilePool, tiles: EncodedTiles) -> TileSet:
    """The windows of a source that show one class."""
    pure = pool.target.max(1) >= PURE
    kept = EncodedTiles(
        tiles.embeddings[pure], tiles.colour[pure], tiles.random[pure], tiles.digest
    )
    label = np.array(KEYS)[pool.target[pure].argmax(1)]
    held_out = pool.split[pure] == "test"
    return TileSet(name, kept, label, pool.group[pure], np.arange(int(pure.sum())), held_out, False)


def _without_pixels(pool: TilePool) -> TilePool:
    """The same windows, their pixels forgotten: they would fill the memory."""
    return TilePool(
        np.zeros((len(pool.rgb), 0, 0, 3), np.uint8),
        pool.target,
        pool.partial,
        pool.source,
        pool.group,
        pool.split,
    )
