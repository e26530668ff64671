"""Stain perturbation: another laboratory's colours, never another picture."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from ruichat.align.stain import StainConfig, perturb_stain

NONE = StainConfig(concentration=0, vector=0, offset=0)
STRONG = StainConfig(concentration=1.5, vector=0.3, offset=0.5)


def tiles(n: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, 6, 5, generator=torch.Generator().manual_seed(seed))


def perturb(rgb: Tensor, config: StainConfig, seed: int = 0) -> Tensor:
    return perturb_stain(rgb, config, torch.Generator().manual_seed(seed))


def test_without_strength_tiles_stay() -> None:
    rgb = tiles().clamp_min(1 / 255)
    torch.testing.assert_close(perturb(rgb, NONE), rgb, atol=1e-4, rtol=0)


@examples(max_examples=25)
@given(seed=st.integers(0, 2**31), level=st.sampled_from([0.0, 1 / 255, 0.5, 1.0, None]))
def test_intensities_stay_in_range(seed: int, level: float | None) -> None:
    rgb = tiles(seed=seed) if level is None else torch.full((4, 3, 6, 5), level)
    out = perturb(rgb, STRONG, seed)
    assert out.shape == rgb.shape
    assert bool(((out >= 0) & (out <= 1)).all())


def test_a_seed_gives_one_stain_and_another_seed_another() -> None:
    rgb = tiles()
    one = perturb(rgb, StainConfig(), 1)
    assert torch.equal(one, perturb(rgb, StainConfig(), 1))
    assert (one - perturb(rgb, StainConfig(), 2)).abs().mean() > 0.005


@pytest.mark.parametrize("field", ["concentration", "vector", "offset"])
def test_each_tile_draws_its_own_stain(field: str) -> None:
    same = tiles(1).expand(3, -1, -1, -1)
    out = perturb(same, NONE.model_copy(update={field: 0.2}))
    for i in range(3):
        assert (out[i] - same[i]).abs().mean() > 0.002
        assert (out[i] - out[i - 1]).abs().mean() > 0.002


def test_pixels_of_one_colour_stay_of_one_colour() -> None:
    """The stain is the tile's, not the pixel's: structure survives."""
    out = perturb(torch.tensor([0.8, 0.5, 0.7]).view(1, 3, 1, 1).expand(2, 3, 6, 5), STRONG)
    assert float(out.flatten(2).std(2).max()) < 1e-5
