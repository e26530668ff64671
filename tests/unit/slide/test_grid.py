"""Tiles at a physical scale, on tissue, inside the slide; refusals with a remedy."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import slide_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.slide.grid import GridConfig, lay_grid
from ruichat.slide.tissue import TissueMask


def everywhere(width: int, height: int) -> TissueMask:
    return TissueMask(np.ones((height // 8, width // 8), bool), 8.0, 1.0, 1.0, None)


@settings(max_examples=60)
@given(
    width=st.integers(240, 3000),
    height=st.integers(240, 3000),
    mpp=st.sampled_from([0.25, 0.499, 0.5]),
)
def test_tiles_have_the_physical_size_and_lie_inside(width: int, height: int, mpp: float) -> None:
    slide = slide_of(np.zeros((height, width, 3), np.uint8), mpp=mpp)
    config = GridConfig(tile_px=96, tile_mpp=0.5)
    grid = lay_grid(slide, everywhere(width, height), config)
    assert grid.span0 * mpp == pytest.approx(48.0, abs=mpp / 2)
    assert (grid.xy0 >= 0).all()
    assert (grid.xy0 + grid.span0 <= np.array([width, height])).all()
    order = grid.xy0[:, 1] * 10_000 + grid.xy0[:, 0]
    assert (np.diff(order) > 0).all()


def test_only_tiles_with_enough_tissue_are_kept() -> None:
    mask = np.zeros((50, 50), bool)
    mask[:, :25] = True
    tissue = TissueMask(mask, 20.0, 1.0, 1.0, None)
    slide = slide_of(np.zeros((1000, 1000, 3), np.uint8))
    strict = lay_grid(slide, tissue, GridConfig(tile_px=200, min_tissue=0.9))
    loose = lay_grid(slide, tissue, GridConfig(tile_px=200, min_tissue=0.4))
    assert sorted(set(strict.xy0[:, 0])) == [0, 200]
    assert sorted(set(loose.xy0[:, 0])) == [0, 200, 400]


def test_tiles_without_any_tissue_are_left_out_even_at_zero() -> None:
    mask = np.zeros((50, 50), bool)
    mask[:10, :10] = True
    slide = slide_of(np.zeros((1000, 1000, 3), np.uint8))
    grid = lay_grid(
        slide, TissueMask(mask, 20.0, 1.0, 1.0, None), GridConfig(tile_px=200, min_tissue=0)
    )
    assert grid.xy0.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("mpp", "size", "words"),
    [
        (0.76, 2000, "at most 0.75"),
        (8.0, 2000, "at most 0.75"),
        (0.25, 300, "75 x 75 um"),
    ],
)
def test_too_coarse_or_too_small_is_refused_with_a_remedy(
    mpp: float, size: int, words: str
) -> None:
    slide = slide_of(np.zeros((size, size, 3), np.uint8), mpp=mpp)
    with pytest.raises(InputError, match=words) as caught:
        lay_grid(slide, everywhere(size, size), GridConfig())
    assert "--mpp" in caught.value.hint


def test_a_region_of_exactly_one_tile_is_one_tile() -> None:
    slide = slide_of(np.zeros((224, 224, 3), np.uint8))
    assert lay_grid(slide, everywhere(224, 224), GridConfig()).xy0.tolist() == [[0, 0]]
