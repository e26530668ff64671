"""Crops, colours and hidden patches: within bounds, by seed, each crop for itself."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from ruichat.align.pretraining.colours import ColourConfig, Colours, distort, draw_colours
from ruichat.align.pretraining.crops import CropConfig, Crops, cut_crops
from ruichat.align.pretraining.masks import MaskConfig, draw_masks
from ruichat.align.stain import (
    RUIPATH_VECTORS,
    ConcentrationConfig,
    draw_concentrations,
    scale_concentrations,
)

SMALL = CropConfig(global_px=32, local_px=16, num_local=3, clean_px=48)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rgb(n: int = 4, seed: int = 0, side: int = 12) -> Tensor:
    return torch.rand(n, 3, side, side, generator=seeded(seed))


def plain(n: int, **changes: Tensor) -> Colours:
    """Colours that change nothing but what is given."""
    nothing = {
        "stain": torch.ones(n, 2),
        "factors": torch.ones(n, 3),
        "hue": torch.zeros(n),
        "grey": torch.zeros(n),
        "sigma": torch.zeros(n),
    }
    return Colours(**{**nothing, **changes})


def test_nothing_asked_changes_nothing() -> None:
    torch.testing.assert_close(distort(rgb(), plain(4)), rgb(), atol=1e-5, rtol=0)


@examples(max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_distorted_crops_stay_in_range(seed: int) -> None:
    config = ColourConfig(jitter=1, hue=0.5, grey=0.5, blur=0.5, stain=ConcentrationConfig())
    out = distort(rgb(seed=seed), draw_colours(4, config, seeded(seed)))
    assert bool(((out >= 0) & (out <= 1)).all())


def test_each_distortion_by_hand() -> None:
    x = rgb(1) * 0.5 + 0.2
    grey = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    brighter = distort(x, plain(1, factors=torch.tensor([[1.2, 1, 1]])))
    torch.testing.assert_close(brighter, x * 1.2, atol=1e-5, rtol=0)
    contrast = distort(x, plain(1, factors=torch.tensor([[1, 0.5, 1]])))
    torch.testing.assert_close(contrast, (x + grey.mean()) / 2, atol=1e-5, rtol=0)
    pale = distort(x, plain(1, factors=torch.tensor([[1, 1, 0.5]])))
    torch.testing.assert_close(pale, (x + grey[:, None]) / 2, atol=1e-5, rtol=0)
    bare = distort(x, plain(1, grey=torch.ones(1)))
    torch.testing.assert_close(bare, grey[:, None].expand(1, 3, 12, 12), atol=1e-5, rtol=0)


def test_a_third_of_a_turn_of_hue_changes_the_colour_and_not_the_brightness() -> None:
    x = torch.tensor([0.55, 0.45, 0.5]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    out = distort(x, plain(1, hue=torch.tensor([2 * math.pi / 3])))[0, :, 0, 0]
    luma = torch.tensor([0.299, 0.587, 0.114])
    assert float(out @ luma) == pytest.approx(float(x[0, :, 0, 0] @ luma), abs=1e-3)
    turned = (colorsys.rgb_to_hsv(*out.tolist())[0] - colorsys.rgb_to_hsv(0.55, 0.45, 0.5)[0]) % 1
    assert min(turned, 1 - turned) == pytest.approx(1 / 3, abs=0.06)


def test_blur_is_a_gaussian_and_only_where_asked() -> None:
    point = torch.zeros(2, 3, 21, 21)
    point[:, :, 10, 10] = 1
    out = distort(point, plain(2, sigma=torch.tensor([0.0, 1.5])))
    assert torch.equal(out[0], point[0])
    line = [math.exp(-(i**2) / (2 * 1.5**2)) for i in range(-5, 6)]
    wanted = np.outer(line, line) / sum(line) ** 2
    np.testing.assert_allclose(out[1, 1, 5:16, 5:16], wanted, atol=1e-6)


def test_shares_are_kept() -> None:
    config = ColourConfig(jitter=0.8, grey=0.2, blur=0.3)
    drawn = draw_colours(4000, config, seeded(0))
    assert float((drawn.factors != 1).any(1).float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float(drawn.grey.mean()) == pytest.approx(0.2, abs=0.03)
    assert float((drawn.sigma > 0).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(drawn.factors.min()) >= 0.6
    assert float(drawn.hue.abs().max()) <= 0.2 * math.pi


def test_concentrations_are_those_of_ruipath() -> None:
    factors = draw_concentrations(20_000, ConcentrationConfig(), seeded(0))
    log = factors.log()
    inside = log[log != 0]
    assert float(inside.abs().max()) <= 1.96 * 0.15
    assert float((log == 0).float().mean()) == pytest.approx(0.05, abs=0.01)
    # A normal cut at 1.96 has .872 of its spread.
    assert float(inside.std()) == pytest.approx(0.15 * 0.872, rel=0.03)


def test_concentrations_scale_the_density_along_each_stain() -> None:
    """A pixel of hematoxylin alone follows its factor and no other; so does eosin."""
    amounts = torch.tensor([0.4, 0.9])
    for k, vector in enumerate(RUIPATH_VECTORS):
        density = amounts[:, None] * torch.tensor(vector)
        pixels = torch.exp(-density).T.reshape(1, 3, 1, 2)
        factors = torch.tensor([[1.3, 0.8]])
        out = scale_concentrations(pixels, factors)
        wanted = density * float(factors[0, k])
        torch.testing.assert_close(-out[0, :, 0].log().T, wanted, atol=1e-5, rtol=1e-5)


def test_concentrations_of_one_leave_all_as_it_is() -> None:
    x = rgb().clamp_min(1 / 255)
    torch.testing.assert_close(scale_concentrations(x, torch.ones(4, 2)), x, atol=1e-5, rtol=0)


def tiles(n: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (60 + 4 * i, 50, 3), dtype=np.uint8) for i in range(n)]


def cut(config: CropConfig = SMALL, seed: int = 0, n: int = 3) -> Crops:
    stain = torch.full((n, 2), 1.1)
    rng = np.random.default_rng(seed)
    return cut_crops(tiles(n), config, MaskConfig(), patch_px=8, student_stain=stain, rng=rng)


def test_crops_have_their_sizes_and_come_from_the_seed() -> None:
    crops = cut()
    assert crops.wide.shape == (6, 32, 32, 3)
    assert crops.narrow.shape == (9, 16, 16, 3)
    assert crops.clean.shape == (6, 48, 48, 3)
    assert crops.masked.shape == (6, 16)
    assert crops.stain.tolist() == [[pytest.approx(1.1)] * 2] * 3
    again, other = cut(), cut(seed=1)
    for name in ("wide", "narrow", "clean", "masked"):
        assert torch.equal(getattr(crops, name), getattr(again, name))
        assert not torch.equal(getattr(crops, name), getattr(other, name))
    assert torch.equal(crops.wide_colours.hue, again.wide_colours.hue)


def test_what_isnt_wanted_isnt_made() -> None:
    crops = cut(SMALL.model_copy(update={"clean_px": 0, "num_local": 0}))
    assert len(crops.clean) == len(crops.narrow) == len(crops.narrow_colours.hue) == 0


def test_clean_crops_show_what_the_wide_ones_show() -> None:
    gradient = np.linspace(0, 255, 64).astype(np.uint8)
    smooth = np.stack(np.broadcast_arrays(gradient[:, None], gradient[None], 128), -1)
    smooth = np.ascontiguousarray(smooth.astype(np.uint8))
    config = SMALL.model_copy(update={"clean_px": 64})
    rng = np.random.default_rng(0)
    crops = cut_crops(
        [smooth], config, MaskConfig(), patch_px=8, student_stain=torch.ones(1, 2), rng=rng
    )
    for wide, clean in zip(crops.wide, crops.clean, strict=True):
        reduced = clean.float().reshape(32, 2, 32, 2, 3).mean((1, 3))
        assert float((reduced - wide.float()).abs().max()) < 4


def test_local_crops_show_less_than_global_ones() -> None:
    """On a ramp the range of values is the share of the side that is seen."""
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[:, None], 200, 1)
    ramp = np.stack([ramp] * 3, -1)
    config = SMALL.model_copy(update={"turns": False, "num_local": 20})
    rng = np.random.default_rng(0)
    crops = cut_crops(
        [ramp] * 10, config, MaskConfig(), patch_px=8, student_stain=torch.ones(10, 2), rng=rng
    )

    def seen(rows: Tensor) -> Tensor:
        flat = rows.float().flatten(1)
        return (flat.amax(1) - flat.amin(1)) / 200

    narrow, wide = seen(crops.narrow), seen(crops.wide)
    assert float(narrow.max()) < math.sqrt(0.32 * 4 / 3) + 0.03
    assert float(wide.min()) > math.sqrt(0.32 * 3 / 4) - 0.06
    assert float(wide.max()) > 0.9


@examples(max_examples=40)
@given(
    num=st.integers(1, 12),
    side=st.integers(2, 14),
    low=st.floats(0.05, 0.5),
    extra=st.floats(0, 0.4),
    seed=st.integers(0, 1000),
)
def test_masks_hide_what_they_should(
    num: int, side: int, low: float, extra: float, seed: int
) -> None:
    config = MaskConfig(crops=0.5, share=(low, low + extra))
    masks = draw_masks(num, side, config, np.random.default_rng(seed))
    counts = masks.sum(1)
    assert int((counts > 0).sum()) == round(num / 2)
    hidden = counts[counts > 0]
    assert (hidden >= max(1, round(side * side * low) - 1)).all()
    assert (hidden <= round(side * side * (low + extra)) + 1).all()


def test_masks_come_in_blocks() -> None:
    """Neighbours share a fate far more often than by chance."""
    config = MaskConfig(crops=1, share=(0.4, 0.41))
    masks = draw_masks(50, 14, config, np.random.default_rng(0)).reshape(50, 14, 14)
    alike = (masks[:, 1:] == masks[:, :-1]).mean()
    assert alike > 0.8  # by chance 1 - 2 * .4 * .6 = .52


@pytest.mark.parametrize("share", [(0.5, 0.1), (0.0, 0.5), (0.5, 1.0)])
def test_impossible_shares_are_refused(share: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="must rise within 0 to 1"):
        MaskConfig(share=share)
    if share != (0.5, 1.0):
        with pytest.raises(ValidationError, match="must rise within 0 to 1"):
            CropConfig(local_share=share)
