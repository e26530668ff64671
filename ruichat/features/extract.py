"""From an open slide to its bag: tiles read ahead while others are encoded, kept as they finish."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from pydantic import Field

from ruichat.config import Config
from ruichat.errors import ArtifactError, ConfigError, ModelError
from ruichat.features.bag import SUFFIX, BagFacts, FeatureBag, save_bag
from ruichat.features.cores import usable_cores
from ruichat.features.encoder import Encoder, EncoderCard
from ruichat.features.prefetch import prefetch
from ruichat.features.shards import DiskShards, Finished, MemoryShards, Part, join
from ruichat.slide.choice import ChoiceConfig, choose_tiles
from ruichat.slide.grid import GridConfig, TileGrid, lay_grid
from ruichat.slide.quality import TileQuality, measure_tiles
from ruichat.slide.slide import Slide
from ruichat.slide.slide_quality import QualityConfig, inspect_slide
from ruichat.slide.tissue import TissueConfig, TissueMask, find_tissue
from ruichat.storage.artifacts import sweep
from ruichat.storage.locks import locked

log = logging.getLogger(__name__)

EXTRACTION = 7
"""Version of the procedure; part of every cache key, raised when what it makes changes."""

BATCH_TILES = 32
"""Encoded at once, always the same ones together: the last bits of embeddings hang on that."""

SHARD_TILES = 256
"""Finished tiles that wait in memory at most."""

SHARD_S = 2.0
"""Seconds after which finished batches are kept: what an interruption may cost."""

READ_AHEAD = 2
"""Batches that may wait for the encoder."""

MAX_READERS = 4
"""Threads that read and measure tiles, and that decode in each; so many feed a GPU."""

Progress = Callable[[int, int], None]


class ExtractConfig(Config):
    """How a slide becomes a bag."""

    encoder: str = "mini"
    """Name of the encoder's card."""
    grid: GridConfig = Field(default_factory=GridConfig)
    tissue: TissueConfig = Field(default_factory=TissueConfig)
    quality: QualityConfig = Field(default_factory=QualityConfig)
    choice: ChoiceConfig = Field(default_factory=ChoiceConfig)
    icc: bool = False
    """Whether colours are converted to sRGB by the slide's ICC profile before they are encoded."""

    @classmethod
    def for_encoder(cls, card: EncoderCard, *, icc: bool = False) -> ExtractConfig:
        """The usual settings with the tiles that this encoder takes."""
        grid = GridConfig(tile_px=card.tile_px, tile_mpp=card.tile_mpp)
        return cls(encoder=card.name, grid=grid, icc=icc)


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
    interrupted goes on after its last finished shard. Two processes that want the same bag make
    it once.

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
    check_fit(slide, encoder, config)
    if cache is None:
        bag = _in_memory(slide, encoder, config, progress)
    else:
        path = cached_path(cache, slide, encoder, config)
        bag = _cached_bag(path, encoder) or _to_cache(slide, encoder, config, path, progress)
        if progress is not None:
            progress(len(bag), len(bag))
    # What was said on opening hangs on how it was opened, so it isn't kept with the bag.
    return replace(bag, warnings=slide.warnings + bag.warnings)


def _to_cache(
    slide: Slide, encoder: Encoder, config: ExtractConfig, path: Path, progress: Progress | None
) -> FeatureBag:
    """Make the bag that the cache lacks, unless another process is doing so."""
    with locked(path.with_suffix(".lock")):
        bag = _cached_bag(path, encoder)
        if bag is None:
            extract_file(slide, encoder, config, path, progress=progress)
            bag = FeatureBag.load(path)
    return bag


def cached_path(cache: Path, slide: Slide, encoder: Encoder, config: ExtractConfig) -> Path:
    """Where the cache keeps the bag of such an extraction."""
    return cache / "bags" / f"{cache_key(slide, encoder, config)}{SUFFIX}"


def extract_file(
    slide: Slide,
    encoder: Encoder,
    config: ExtractConfig,
    path: Path,
    *,
    parts: Path | None = None,
    shard_s: float = SHARD_S,
    progress: Progress | None = None,
) -> BagFacts:
    """Encode the tissue tiles of a slide into a file, in memory that doesn't grow with them.

    The caller holds a lock for `path`.

    Args:
        slide: open slide.
        encoder: must be the one that the config names.
        config: all settings.
        path: of the bag; what is there is replaced.
        parts: folder for shards until the bag is complete; beside the bag if None.
        shard_s: seconds after which finished batches are kept.
        progress: called with tiles done and tiles in all.

    Returns:
        What the bag says of itself.

    Raises:
        ConfigError, InputError, ArtifactError, ModelError: as `extract`.
    """
    check_fit(slide, encoder, config)
    sweep(path)
    folder = path.with_suffix(".parts") if parts is None else parts
    shards = DiskShards(folder, cache_key(slide, encoder, config), encoder.card.dim)
    tissue, grid, warnings = lay_tiles(slide, config)
    encode_missing(slide, grid, encoder, shards, progress, shard_s=shard_s)
    facts = _facts(slide, encoder, config, tissue, grid, warnings)
    save_bag(path, facts, _blocks(grid, shards))
    shards.remove()
    return facts


def _in_memory(
    slide: Slide, encoder: Encoder, config: ExtractConfig, progress: Progress | None
) -> FeatureBag:
    shards = MemoryShards()
    tissue, grid, warnings = lay_tiles(slide, config)
    encode_missing(slide, grid, encoder, shards, progress)
    facts = _facts(slide, encoder, config, tissue, grid, warnings)
    return FeatureBag.of(facts, xy0=grid.xy0, **vars(join(list(shards.parts()))))


def lay_tiles(slide: Slide, config: ExtractConfig) -> tuple[TissueMask, TileGrid, tuple[str, ...]]:
    """The tissue, the tiles worth reading, and what the user should know about both.

    Raises:
        InputError: the slide is damaged, too coarse, or has no tissue.
    """
    tissue = find_tissue(slide, config.tissue)
    grid = lay_grid(slide, tissue, config.grid)
    choice = choose_tiles(grid, inspect_slide(slide, tissue, config.quality), config.choice)
    said = (tissue.stain_warning, choice.warning)
    return tissue, choice.grid, tuple(one for one in said if one is not None)


def _blocks(grid: TileGrid, shards: Finished) -> Iterator[dict[str, NDArray[Any]]]:
    first = 0
    for part in shards.parts():
        yield {"xy0": grid.xy0[first : first + len(part)], **vars(part)}
        first += len(part)


def cache_key(slide: Slide, encoder: Encoder, config: ExtractConfig) -> str:
    """Name of the bag: the same only for the same pixels, mpp, settings, weights and precision."""
    parts = [
        EXTRACTION,
        slide.digest,
        slide.mpp.value,
        slide.mpp.source,
        config.fingerprint(),
        encoder.card.name,
        encoder.digest,
        encoder.way.precision,
    ]
    text = json.dumps(parts)
    return f"{slide.digest[:12]}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def check_fit(slide: Slide, encoder: Encoder, config: ExtractConfig) -> None:
    """Refuse an encoder or a slide that the settings aren't for.

    Raises:
        ConfigError: the encoder has another name or takes other tiles, or the slide was opened
            with other colours.
    """
    if slide.icc != config.icc:
        raise ConfigError(
            f"the config says icc={config.icc}, the slide was opened with icc={slide.icc}",
            hint="Open the slide as the config says",
        )
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


def encode_missing(
    slide: Slide,
    grid: TileGrid,
    encoder: Encoder,
    shards: Finished,
    progress: Progress | None,
    *,
    shard_s: float = SHARD_S,
) -> None:
    """Encode those tiles of the grid that no shard holds yet.

    Raises:
        InputError: the slide is damaged.
        ArtifactError: a shard can't be written.
        ModelError: the encoder returned what it must not.
    """
    num, spans = len(grid), shards.spans()
    finished = sum(end - first for first, end in spans)
    if progress is not None:
        progress(finished, num)
    gaps = _gaps(spans, num)
    ends = {end for _, end in gaps}
    ranges = [batch for first, end in gaps for batch in _batches(first, end)]
    pending: list[Part] = []
    since = time.monotonic()
    cores = len(usable_cores())
    readers = min(MAX_READERS, cores)
    read = functools.partial(_read, slide, grid, max(1, min(MAX_READERS, cores // 2)))
    with prefetch(read, ranges, num_threads=readers, ahead=READ_AHEAD) as batches:
        for (_, end), batch in zip(ranges, batches, strict=True):
            pending.append(_encode(encoder, batch))
            finished += len(batch.tiles)
            waiting = sum(map(len, pending))
            if end in ends or waiting >= SHARD_TILES or time.monotonic() - since >= shard_s:
                shards.write(end - waiting, join(pending))
                pending, since = [], time.monotonic()
            if progress is not None:
                progress(finished, num)


def _gaps(spans: list[tuple[int, int]], num: int) -> list[tuple[int, int]]:
    """Stretches of 0..num that no span covers."""
    edges = [0, *(edge for span in spans for edge in span), num]
    return [(first, end) for first, end in zip(edges[::2], edges[1::2], strict=True) if first < end]


def _batches(first: int, end: int) -> list[tuple[int, int]]:
    return [(b, min(b + BATCH_TILES, end)) for b in range(first, end, BATCH_TILES)]


def _read(slide: Slide, grid: TileGrid, num_threads: int, span: tuple[int, int]) -> _Batch:
    first, end = span
    tiles = slide.read_tiles(
        grid.xy0[first:end], span0=grid.span0, tile_px=grid.tile_px, num_threads=num_threads
    )
    return _Batch(tiles, measure_tiles(tiles))


def _encode(encoder: Encoder, batch: _Batch) -> Part:
    embeddings = encoder.encode(batch.tiles)
    wanted = (len(batch.tiles), encoder.card.dim)
    if embeddings.shape != wanted or embeddings.dtype != np.float32:
        raise ModelError(
            f"encoder {encoder.card.name!r} returned {embeddings.dtype} {embeddings.shape} for "
            f"{len(batch.tiles)} tiles; its card promises float32 {wanted}",
            hint="Its weights and its card don't belong together",
        )
    if not np.isfinite(embeddings).all():
        raise ModelError(
            f"encoder {encoder.card.name!r} gave embeddings that are not finite",
            hint="Check the encoder's weights",
        )
    quality = batch.quality
    return Part(embeddings, quality.focus, quality.hematoxylin, quality.eosin)


def _facts(
    slide: Slide,
    encoder: Encoder,
    config: ExtractConfig,
    tissue: TissueMask,
    grid: TileGrid,
    warnings: tuple[str, ...],
) -> BagFacts:
    return BagFacts(
        num_tiles=len(grid),
        dim=encoder.card.dim,
        span0=grid.span0,
        base_mpp=slide.mpp.value,
        size0=(slide.width0, slide.height0),
        tissue_area_mm2=tissue.area_mm2,
        he_share=tissue.he_share,
        encoder=encoder.card.name,
        encoder_digest=encoder.digest,
        slide_digest=slide.digest,
        fingerprint=config.fingerprint(),
        warnings=warnings,
        tile_px=grid.tile_px,
        key=cache_key(slide, encoder, config),
        way=str(encoder.way),
    )
