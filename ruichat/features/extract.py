"""From an open slide to its bag: tiles read ahead while others are encoded, kept as they finish."""

from __future__ import annotations

import hashlib
import json
import logging
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from pydantic import Field

from ruichat.config import Config
from ruichat.errors import ArtifactError, ConfigError, ModelError
from ruichat.features.bag import FeatureBag
from ruichat.features.encoder import Encoder, EncoderCard
from ruichat.slide.grid import GridConfig, TileGrid, lay_grid
from ruichat.slide.quality import TileQuality, measure_tiles
from ruichat.slide.slide import Slide
from ruichat.slide.tissue import TissueConfig, TissueMask, find_tissue
from ruichat.storage.artifacts import Manifest, read_checked, save_arrays

log = logging.getLogger(__name__)

SHARD_KIND = "feature-shard"
SHARD_SCHEMA = 1

EXTRACTION = 3
"""Version of the procedure; part of every cache key, raised when what it makes changes."""

BATCH_TILES = 32
SHARD_TILES = 256
"""Tiles whose loss an interruption may cost: some seconds of work on two cores."""

READ_AHEAD = 2
"""Batches that may wait for the encoder."""

Progress = Callable[[int, int], None]


class ExtractConfig(Config):
    """How a slide becomes a bag."""

    encoder: str = "mini"
    """Name of the encoder's card."""
    grid: GridConfig = Field(default_factory=GridConfig)
    tissue: TissueConfig = Field(default_factory=TissueConfig)

    @classmethod
    def for_encoder(cls, card: EncoderCard) -> ExtractConfig:
        """The usual settings with the tiles that this encoder takes."""
        return cls(encoder=card.name, grid=GridConfig(tile_px=card.tile_px, tile_mpp=card.tile_mpp))


@dataclass(frozen=True)
class _Part:
    """Finished tiles, in the order of the grid."""

    embeddings: Float32[NDArray[np.float32], "n d"]
    focus: Float32[NDArray[np.float32], " n"]
    hematoxylin: Float32[NDArray[np.float32], " n"]
    eosin: Float32[NDArray[np.float32], " n"]


@dataclass(frozen=True)
class _Batch:
    tiles: UInt8[NDArray[np.uint8], "n h w 3"]
    quality: TileQuality


def extract(
    slide: Slide,
    encoder: Encoder,
    config: ExtractConfig,
    *,
    cache: Path | None,
    progress: Progress | None = None,
) -> FeatureBag:
    """Encode the tissue tiles of a slide.

    A bag already in the cache is read back without touching a tile. An extraction that was
    interrupted goes on after its last finished shard of `SHARD_TILES` tiles.

    Args:
        slide: open slide.
        encoder: must be the one that the config names.
        config: all settings; their fingerprint is part of the cache key.
        cache: folder for bags and shards; None keeps nothing.
        progress: called with tiles done and tiles in all.

    Raises:
        ConfigError: config and encoder don't fit.
        InputError: the slide is damaged, too coarse, or has no tissue.
        ArtifactError: the cache can't be written, or holds another encoder's work.
        ModelError: the encoder returned what it must not.
    """
    _check_fit(encoder, config)
    key = cache_key(slide, encoder, config)
    path = None if cache is None else cache / "bags" / f"{key}.safetensors"
    bag = _cached_bag(path, encoder)
    if bag is None:
        bag = _new_bag(slide, encoder, config, key, path, progress)
    elif progress is not None:
        progress(len(bag), len(bag))
    # What was said on opening hangs on how it was opened, so it isn't kept with the bag.
    return replace(bag, warnings=slide.warnings + bag.warnings)


def _new_bag(
    slide: Slide,
    encoder: Encoder,
    config: ExtractConfig,
    key: str,
    path: Path | None,
    progress: Progress | None,
) -> FeatureBag:
    """Extract, and keep the bag at `path`."""
    tissue = find_tissue(slide, config.tissue)
    grid = lay_grid(slide, tissue, config.grid)
    shards = None if path is None else _Shards(path.with_suffix(".parts"), key)
    parts = _encode_all(slide, grid, encoder, shards, progress)
    bag = _gather(slide, encoder, config, tissue, grid, parts)
    if path is not None and shards is not None:
        bag.save(path)
        shards.remove()
    return bag


def cache_key(slide: Slide, encoder: Encoder, config: ExtractConfig) -> str:
    """Name of the bag: the same only for the same pixels, resolution, settings and weights."""
    parts = [
        EXTRACTION,
        slide.digest,
        slide.mpp.value,
        slide.mpp.source,
        config.fingerprint(),
        encoder.card.name,
        encoder.digest,
    ]
    text = json.dumps(parts)
    return f"{slide.digest[:12]}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _check_fit(encoder: Encoder, config: ExtractConfig) -> None:
    card, grid = encoder.card, config.grid
    if card.name != config.encoder:
        raise ConfigError(
            f"the config names encoder {config.encoder!r}, given is {card.name!r}",
            hint=f"Load encoder {config.encoder}",
        )
    if (card.tile_px, card.tile_mpp) != (grid.tile_px, grid.tile_mpp):
        raise ConfigError(
            f"encoder {card.name!r} takes tiles of {card.tile_px} px at {card.tile_mpp:g} um/px; "
            f"the grid cuts {grid.tile_px} px at {grid.tile_mpp:g}",
            hint=f"Set grid.tile_px={card.tile_px} and grid.tile_mpp={card.tile_mpp:g}",
        )


def _cached_bag(path: Path | None, encoder: Encoder) -> FeatureBag | None:
    if path is None or not path.exists():
        return None
    try:
        bag = FeatureBag.load(path)
    except ArtifactError as error:
        log.warning("%s; the slide is extracted again", error.message)
        return None
    return bag.check_encoder(encoder.card.name, encoder.digest, encoder.card.dim)


def _encode_all(
    slide: Slide,
    grid: TileGrid,
    encoder: Encoder,
    shards: _Shards | None,
    progress: Progress | None,
) -> list[_Part]:
    num = len(grid)
    starts = range(0, num, SHARD_TILES)
    done = {s: shards.read(s, encoder, min(SHARD_TILES, num - s)) for s in starts} if shards else {}
    finished = sum(len(part.focus) for part in done.values() if part is not None)
    if progress is not None:
        progress(finished, num)
    missing = [s for s in starts if done.get(s) is None]
    ranges = [batch for s in missing for batch in _batches(s, min(s + SHARD_TILES, num))]
    parts = {s: part for s, part in done.items() if part is not None}
    pending: list[_Part] = []
    with _ReadAhead(slide, grid, ranges) as batches:
        for (_, end), batch in zip(ranges, batches, strict=True):
            pending.append(_encode(encoder, batch))
            finished += len(batch.tiles)
            if end == num or end % SHARD_TILES == 0:
                start = (end - 1) // SHARD_TILES * SHARD_TILES
                parts[start], pending = _join(pending), []
                if shards is not None:
                    shards.write(start, parts[start], encoder)
            if progress is not None:
                progress(finished, num)
    return [parts[s] for s in starts]


def _batches(first: int, end: int) -> list[tuple[int, int]]:
    return [(b, min(b + BATCH_TILES, end)) for b in range(first, end, BATCH_TILES)]


def _encode(encoder: Encoder, batch: _Batch) -> _Part:
    embeddings = encoder.encode(batch.tiles)
    wanted = (len(batch.tiles), encoder.card.dim)
    if embeddings.shape != wanted or embeddings.dtype != np.float32:
        raise ModelError(
            f"encoder {encoder.card.name!r} returned {embeddings.dtype} {embeddings.shape} for "
            f"{len(batch.tiles)} tiles; its card promises float32 {wanted}",
            hint="Its weights and its card don't belong together",
        )
    quality = batch.quality
    return _Part(embeddings, quality.focus, quality.hematoxylin, quality.eosin)


def _join(parts: list[_Part]) -> _Part:
    return _Part(
        np.concatenate([p.embeddings for p in parts]),
        np.concatenate([p.focus for p in parts]),
        np.concatenate([p.hematoxylin for p in parts]),
        np.concatenate([p.eosin for p in parts]),
    )


def _gather(
    slide: Slide,
    encoder: Encoder,
    config: ExtractConfig,
    tissue: TissueMask,
    grid: TileGrid,
    parts: list[_Part],
) -> FeatureBag:
    whole = _join(parts)
    return FeatureBag(
        embeddings=whole.embeddings,
        xy0=grid.xy0,
        span0=grid.span0,
        base_mpp=slide.mpp.value,
        size0=(slide.width0, slide.height0),
        focus=whole.focus,
        hematoxylin=whole.hematoxylin,
        eosin=whole.eosin,
        tissue_area_mm2=tissue.area_mm2,
        he_share=tissue.he_share,
        encoder=encoder.card.name,
        encoder_digest=encoder.digest,
        slide_digest=slide.digest,
        fingerprint=config.fingerprint(),
        warnings=() if tissue.stain_warning is None else (tissue.stain_warning,),
    )


class _ReadAhead:
    """Batches of tiles, read by a thread of their own so that reading overlaps encoding."""

    def __init__(self, slide: Slide, grid: TileGrid, ranges: list[tuple[int, int]]) -> None:
        self._slide, self._grid, self._ranges = slide, grid, ranges
        self._queue: queue.Queue[_Batch | BaseException] = queue.Queue(READ_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tile-reader", daemon=True)

    def __enter__(self) -> Iterator[_Batch]:
        self._thread.start()
        return self._batches()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():  # the reader may wait on a full queue
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def _batches(self) -> Iterator[_Batch]:
        for _ in self._ranges:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def _run(self) -> None:
        grid = self._grid
        try:
            for first, end in self._ranges:
                if self._stop.is_set():
                    return
                tiles = self._slide.read_tiles(
                    grid.xy0[first:end], span0=grid.span0, tile_px=grid.tile_px
                )
                self._queue.put(_Batch(tiles, measure_tiles(tiles)))
        except BaseException as error:  # handed to the thread that waits for batches
            self._queue.put(error)


class _Shards:
    """Finished stretches of one extraction on disk, so that an interrupted one goes on."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def read(self, start: int, encoder: Encoder, num: int) -> _Part | None:
        path = self._path(start)
        if not path.exists():
            return None
        try:
            artifact = read_checked(path, kind=SHARD_KIND, schema_version=SHARD_SCHEMA)
        except ArtifactError as error:
            log.warning("%s; its tiles are encoded again", error.message)
            return None
        same = artifact.manifest.made_from == {"key": self._key, "encoder": encoder.digest}
        part = _Part(**artifact.arrays)
        return part if same and part.embeddings.shape == (num, encoder.card.dim) else None

    def write(self, start: int, part: _Part, encoder: Encoder) -> None:
        manifest = Manifest(
            schema_version=SHARD_SCHEMA,
            kind=SHARD_KIND,
            made_from={"key": self._key, "encoder": encoder.digest},
        )
        save_arrays(self._path(start), vars(part), manifest)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, start: int) -> Path:
        return self._folder / f"{start:08d}.part"
