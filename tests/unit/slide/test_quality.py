"""Focus falls with blur and not with stain; stains are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import Picture, draw_tissue
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ruichat.slide.quality import HALF_FOCUS, measure_tiles
from ruichat.slide.stain import (
    EOSIN_OD,
    HEMATOXYLIN_OD,
    looks_like_he,
    looks_like_ink,
    optical_density,
    unmixing_matrix,
)

TILE = draw_tissue(224, 224, seed=5)


def stained(*amounts: tuple[float, tuple[float, float, float]]) -> Picture:
    od = sum(np.array(vector) / np.linalg.norm(vector) * amount for amount, vector in amounts)
    color = np.round(256 * 10.0 ** -np.asarray(od) - 1)
    return np.broadcast_to(color, (1, 64, 64, 3)).astype(np.uint8)


def test_focus_falls_steadily_with_blur() -> None:
    tiles = [TILE, *(ndimage.gaussian_filter(TILE, (s, s, 0)) for s in (1, 2, 4))]
    focus = measure_tiles(np.stack(tiles)).focus
    assert (np.diff(focus) < 0).all()
    assert focus[0] > 0.6 and focus[-1] < 0.15


def test_focus_does_not_hang_on_the_strength_of_stain() -> None:
    pale = (255 - (255 - TILE.astype(int)) * 0.6).astype(np.uint8)
    focus = measure_tiles(np.stack([TILE, pale])).focus
    assert focus[0] == pytest.approx(focus[1], abs=0.05)


def reference(tile: Picture) -> tuple[float, float, float]:
    """The same measures over all pixels, written out."""
    od = optical_density(tile).astype(np.float64)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    inside = ndimage.convolve(od[..., 1], kernel)[1:-1, 1:-1]
    ratio = inside.var() / (od[1:-1, :, 1].var() + 1e-3)
    stains = np.maximum(od.reshape(-1, 3) @ unmixing_matrix()[:, :2], 0).mean(axis=0)
    return ratio / (ratio + HALF_FOCUS), float(stains[0]), float(stains[1])


@given(height=st.integers(8, 63), width=st.integers(8, 80), seed=st.integers(0, 99))
def test_focus_of_a_small_tile_is_over_all_its_pixels(height: int, width: int, seed: int) -> None:
    tile = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert measure_tiles(tile[None]).focus[0] == pytest.approx(reference(tile)[0], abs=1e-4)


@pytest.mark.parametrize("size", [112, 224, 250, 512])
def test_bands_of_a_tile_stand_for_all_of_it(size: int) -> None:
    tiles = np.stack([draw_tissue(size, size, seed=seed) for seed in range(4)])
    found = measure_tiles(tiles)
    wanted = np.array([reference(tile) for tile in tiles]).T
    assert found.focus == pytest.approx(wanted[0], abs=0.03)
    assert found.hematoxylin == pytest.approx(wanted[1], abs=0.01)
    assert found.eosin == pytest.approx(wanted[2], abs=0.01)


def test_a_tile_is_measured_alike_alone_and_among_others() -> None:
    tiles = np.stack([TILE, TILE[::-1], TILE[:, ::-1]])
    together, alone = measure_tiles(tiles), measure_tiles(tiles[1:2])
    assert together.focus[1] == alone.focus[0]
    assert together.hematoxylin[1] == alone.hematoxylin[0]


def test_an_empty_tile_has_no_focus_and_no_stain() -> None:
    quality = measure_tiles(np.full((1, 64, 64, 3), 255, np.uint8))
    assert (quality.focus[0], quality.hematoxylin[0], quality.eosin[0]) == (0, 0, 0)


@pytest.mark.parametrize(("hematoxylin", "eosin"), [(0.4, 0.1), (0.1, 0.5), (0.3, 0.3)])
def test_amounts_of_stain_are_recovered(hematoxylin: float, eosin: float) -> None:
    quality = measure_tiles(stained((hematoxylin, HEMATOXYLIN_OD), (eosin, EOSIN_OD)))
    assert quality.hematoxylin[0] == pytest.approx(hematoxylin, abs=0.01)
    assert quality.eosin[0] == pytest.approx(eosin, abs=0.01)


def test_unmixing_inverts_mixing() -> None:
    vector = np.array(HEMATOXYLIN_OD) / np.linalg.norm(HEMATOXYLIN_OD)
    assert vector @ unmixing_matrix() == pytest.approx([1, 0, 0], abs=1e-5)


def test_optical_density_of_white_and_black() -> None:
    ends = optical_density(np.array([[255, 255, 255], [0, 0, 0]], np.uint8))
    assert ends[0] == pytest.approx([0, 0, 0], abs=1e-6)
    assert ends[1] == pytest.approx([np.log10(256)] * 3)


@pytest.mark.parametrize(
    ("color", "he", "ink"),
    [
        ((225, 140, 180), True, False),
        ((90, 60, 130), True, False),
        ((200, 70, 120), True, False),
        ((40, 80, 200), False, True),
        ((30, 140, 60), False, True),
        ((15, 15, 18), False, True),
        ((120, 80, 50), False, False),  # DAB, melanin: not H&E, but tissue
    ],
)
def test_colours(color: tuple[int, int, int], he: bool, ink: bool) -> None:
    od = optical_density(np.array([color], np.uint8))
    assert (looks_like_he(od).all(), looks_like_ink(od).all()) == (he, ink)
