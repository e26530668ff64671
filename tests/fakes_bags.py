"""Bags for tests: random embeddings on a plain grid with holes."""

from __future__ import annotations

import numpy as np

from ruichat.features.bag import FeatureBag


def drawn_bag(
    num_tiles: int,
    dim: int,
    *,
    encoder: str = "mini",
    encoder_digest: str = "e" * 64,
    span0: int = 224,
    base_mpp: float = 0.5,
    seed: int = 0,
) -> FeatureBag:
    """A bag whose tiles lie in distinct cells, away from the slide's corner."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(2 * num_tiles)))
    cells = np.sort(rng.choice(side * side, num_tiles, replace=False))
    xy0 = np.stack([3 + cells // side, 5 + cells % side], axis=1) * span0 + span0 // 3
    return FeatureBag(
        embeddings=rng.standard_normal((num_tiles, dim)).astype(np.float32),
        xy0=xy0.astype(np.int64),
        span0=span0,
        base_mpp=base_mpp,
        size0=(side * span0 + 9 * span0, side * span0 + 9 * span0),
        focus=rng.random(num_tiles, np.float32),
        hematoxylin=rng.random(num_tiles, np.float32),
        eosin=rng.random(num_tiles, np.float32),
        tissue_area_mm2=1.0,
        encoder=encoder,
        encoder_digest=encoder_digest,
        slide_digest="5d" * 32,
        fingerprint="f" * 16,
    )
