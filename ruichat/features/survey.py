"""A slide's tissue tiles without an encoder: where they lie, and how sharp a sample of them is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ruichat.features.bag import FeatureBag
from ruichat.features.extract import ExtractConfig, lay_tiles
from ruichat.slide.quality import measure_tiles
from ruichat.slide.slide import Slide

NO_ENCODER = "none"
"""Name that such a bag states for its encoder; no card may have it."""

SAMPLED_TILES = 64
"""Tiles that are read to tell focus and stain; evenly spread, as `slide check` does."""


def survey(slide: Slide, config: ExtractConfig) -> FeatureBag:
    """A bag of zero-width embeddings: its tiles are those that an encoder would be given.

    Args:
        slide: open slide.
        config: grid, tissue and quality; its encoder isn't used.

    Returns:
        The bag; focus and stain are NaN for tiles that weren't sampled.

    Raises:
        InputError: the slide is damaged, too coarse, or has no tissue.
    """
    tissue, grid, warnings = lay_tiles(slide, config)
    num = len(grid)
    rows = np.unique(np.linspace(0, num - 1, min(SAMPLED_TILES, num)).round().astype(np.int64))
    tiles = slide.read_tiles(grid.xy0[rows], span0=grid.span0, tile_px=grid.tile_px)
    measured = measure_tiles(tiles)

    def spread(values: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = np.full(num, np.nan, np.float32)
        whole[rows] = values
        return whole

    return FeatureBag(
        embeddings=np.zeros((num, 0), np.float32),
        xy0=grid.xy0,
        span0=grid.span0,
        base_mpp=slide.mpp.value,
        size0=(slide.width0, slide.height0),
        tissue_area_mm2=tissue.area_mm2,
        he_share=tissue.he_share,
        encoder=NO_ENCODER,
        encoder_digest="",
        slide_digest=slide.digest,
        fingerprint=config.fingerprint(),
        warnings=slide.warnings + warnings,
        tile_px=grid.tile_px,
        focus=spread(measured.focus),
        hematoxylin=spread(measured.hematoxylin),
        eosin=spread(measured.eosin),
    )
