"""Tiles read and encoded once: trained embeddings, colour, and an untrained network's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ruichat.errors import ArtifactError
from ruichat.features.encoder import Encoder
from ruichat.storage.artifacts import Manifest, read_checked, save_arrays
from ruichat.truth.colour import colour_statistics

KIND = "evaluation-tiles"
SCHEMA_VERSION = 2
_CHUNK = 256

Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EncodedTiles:
    """What is computed from tiles.

    Attributes:
        embeddings: float32 [n,d] of the encoder under test.
        colour: float32 [n,12], see `colour_statistics`.
        random: float32 [n,s], statistics of the untrained network; [n,0] where not asked for.
        digest: SHA-256 over the pixels.
    """

    embeddings: NDArray[np.float32]
    colour: NDArray[np.float32]
    random: NDArray[np.float32]
    digest: str


class TileReader:
    """Encodes tiles, and keeps the result so that the next run reads it.

    Args:
        encoder: the encoder under test.
        cache: folder for results.
        random_seed: of the untrained network.
    """

    def __init__(self, encoder: Encoder, cache: Path, *, random_seed: int) -> None:
        self.encoder = encoder
        self._cache = cache
        self._seed = random_seed
        self._network: Any = None

    def encode(
        self, rgb: NDArray[np.uint8], *, with_random: bool = False, tick: Tick | None = None
    ) -> EncodedTiles:
        """Embeddings, colour and untrained statistics of tiles, from the cache if there."""
        digest = hashlib.sha256(np.ascontiguousarray(rgb).reshape(-1).data).hexdigest()
        digest = hashlib.sha256(f"{rgb.shape}{digest}".encode()).hexdigest()
        embeddings = self._cached(digest, f"encoder {self.encoder.digest}", rgb, self._embed, tick)
        # What no weights enter outlives them: another model's evaluation reads it again.
        colour = self._cached(digest, "colour", rgb, colour_statistics, None)
        random = np.zeros((len(rgb), 0), np.float32)
        if with_random:
            random = self._cached(digest, f"untrained {self._seed}", rgb, self._untrained, tick)
        return EncodedTiles(embeddings, colour, random, digest)

    def _cached(
        self,
        digest: str,
        what: str,
        rgb: NDArray[np.uint8],
        compute: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
        tick: Tick | None,
    ) -> NDArray[np.float32]:
        """One row per tile, computed in chunks unless it was computed before."""
        key = hashlib.sha256(f"{digest} {what}".encode()).hexdigest()[:32]
        path = self._cache / f"tiles-{key}.safetensors"
        if path.is_file():
            try:
                return read_checked(path, kind=KIND, schema_version=SCHEMA_VERSION).arrays["rows"]
            except (ArtifactError, KeyError):
                path.unlink()
        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(rgb), _CHUNK):
            parts.append(compute(rgb[start : start + _CHUNK]))
            if tick is not None:
                tick(min(start + _CHUNK, len(rgb)), len(rgb))
        rows = np.concatenate(parts)
        made_from = {"tiles": digest, "rows": what}
        manifest = Manifest(schema_version=SCHEMA_VERSION, kind=KIND, made_from=made_from)
        save_arrays(path, {"rows": rows}, manifest)
        return rows

    def _embed(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.encoder.encode(rgb)

    def _untrained(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        from ruichat.features.mini.network import MiniNetwork

        if self._network is None:
            with torch.random.fork_rng():
                torch.manual_seed(self._seed)
                self._network = MiniNetwork().eval()
        card = self.encoder.card
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (card.mean, card.std))
        with torch.inference_mode():
            parts = [
                self._network(
                    (torch.from_numpy(part).permute(0, 3, 1, 2).float() / 255 - mean) / std
                ).numpy()
                for part in np.array_split(rgb, -(-len(rgb) // 32))
            ]
        return np.concatenate(parts)
