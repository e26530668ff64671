"""Symbolic slides: valid for every seed, and true to the tiles they are read from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.histology import KEYS
from ruichat.model.regions import split_regions
from ruichat.truth.symbolic import (
    INDEX,
    NUM_CLASSES,
    SymbolicConfig,
    SymbolicSlide,
    draw_symbolic_slide,
)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 64))
def test_drawn_slides_are_valid(seed: int, k: int) -> None:
    config = SymbolicConfig(max_regions=k)
    slide = draw_symbolic_slide(np.random.default_rng(seed), config)
    assert 1 <= slide.num_regions <= k
    assert slide.fractions.shape == (slide.num_regions, NUM_CLASSES)
    np.testing.assert_allclose(slide.fractions.sum(axis=1), 1, atol=1e-5)
    assert slide.composition.sum() == pytest.approx(1)
    assert np.all(np.abs(slide.centre_xy) <= 1)
    assert slide.mm2.sum() == pytest.approx(slide.num_tiles.sum() * 0.112**2)


def test_same_seed_same_slide() -> None:
    one, other = (draw_symbolic_slide(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.fractions, other.fractions)
    np.testing.assert_array_equal(one.geometry, other.geometry)


def test_every_class_is_drawn() -> None:
    rng = np.random.default_rng(1)
    present = sum((draw_symbolic_slide(rng).composition > 0).astype(int) for _ in range(120))
    assert np.all(present > 4), dict(zip(KEYS, np.asarray(present).tolist(), strict=True))


def test_read_off_tiles() -> None:
    xy0 = np.array([[x * 100, 0] for x in range(8)])
    regions = split_regions(xy0, 100, 0.5, (800, 100), max_regions=2)
    fat, necrosis = INDEX["fat"], INDEX["necrosis"]
    tile_class = np.array([fat] * 4 + [necrosis, necrosis, necrosis, fat])
    slide = SymbolicSlide.from_truth(tile_class, regions)
    assert slide.num_tiles.tolist() == [4, 4]
    assert slide.fractions[0, fat] == 1
    assert slide.fractions[1, necrosis] == pytest.approx(0.75)
    assert slide.composition[fat] == pytest.approx(5 / 8)


@pytest.mark.parametrize("tile_class", [[0, 255], [0, -1], [0]])
def test_tiles_of_unknown_class_are_refused(tile_class: list[int]) -> None:
    regions = split_regions(np.array([[0, 0], [100, 0]]), 100, 0.5, (200, 100))
    with pytest.raises(InputError):
        SymbolicSlide.from_truth(np.array(tile_class), regions)


def test_fractions_must_sum_to_one() -> None:
    slide = draw_symbolic_slide(np.random.default_rng(0))
    with pytest.raises(InputError, match="sum to 1"):
        SymbolicSlide(slide.fractions * 0.5, slide.geometry, slide.num_tiles, slide.tile_mm2)
