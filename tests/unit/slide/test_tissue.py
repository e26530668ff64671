"""Tissue found and nothing else: not glass, pens, borders, dust; whatever fills the view."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import Picture, draw_tissue, slide_of

from ruichat.errors import InputError
from ruichat.slide.grid import GridConfig, lay_grid
from ruichat.slide.tissue import TissueConfig, find_tissue, otsu

GLASS = (240, 238, 241)
BLUE_INK = (40, 80, 200)
GREEN_INK = (30, 140, 60)
BLACK = (15, 15, 18)


def glass(width: int = 900, height: int = 700) -> Picture:
    noise = np.random.default_rng(1).integers(-4, 5, (height, width, 3))
    return np.clip(np.array(GLASS) + noise, 0, 255).astype(np.uint8)


def with_piece(x: int, y: int, width: int, height: int) -> Picture:
    picture = glass()
    picture[y : y + height, x : x + width] = draw_tissue(width, height)
    return picture


def test_area_is_that_of_the_piece() -> None:
    found = find_tissue(slide_of(with_piece(200, 150, 400, 300)), TissueConfig())
    assert found.area_mm2 == pytest.approx(400 * 300 * 0.25e-6, rel=0.06)
    assert found.stain_warning is None
    assert found.he_share > 0.9


@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.7])
def test_area_scales_with_the_resolution(mpp: float) -> None:
    found = find_tissue(slide_of(with_piece(200, 150, 400, 300), mpp=mpp), TissueConfig())
    assert found.area_mm2 == pytest.approx(400 * 300 * mpp**2 * 1e-6, rel=0.06)


def test_tissue_that_fills_the_view_is_all_found() -> None:
    found = find_tissue(slide_of(draw_tissue(900, 700)), TissueConfig())
    assert found.mask.mean() > 0.98


@pytest.mark.parametrize("value", [255, 240, 215])
def test_blank_glass_has_no_tissue_and_the_grid_says_so(value: int) -> None:
    slide = slide_of(np.full((700, 900, 3), value, np.uint8))
    found = find_tissue(slide, TissueConfig())
    assert found.area_mm2 == 0
    with pytest.raises(InputError, match="no tissue") as caught:
        lay_grid(slide, found, GridConfig())
    assert "--overlay" in caught.value.hint


@pytest.mark.parametrize("ink", [BLUE_INK, GREEN_INK, BLACK])
def test_pens_and_borders_are_not_tissue(ink: tuple[int, int, int]) -> None:
    picture = with_piece(450, 150, 400, 400)
    picture[80:620, 40:160] = ink
    picture[:30] = BLACK
    found = find_tissue(slide_of(picture), TissueConfig())
    half = found.mask.shape[1] // 2
    assert not found.mask[:, : half - 20].any()
    assert found.area_mm2 == pytest.approx(400 * 400 * 0.25e-6, rel=0.06)


def test_only_a_pen_is_no_tissue() -> None:
    picture = glass()
    picture[200:400, 200:500] = BLUE_INK
    assert find_tissue(slide_of(picture), TissueConfig()).area_mm2 == 0


def test_grey_dirt_and_specks_are_not_tissue() -> None:
    picture = glass()
    picture[100:300, 100:300] = 170
    picture[500:520, 500:520] = draw_tissue(20, 20)
    assert find_tissue(slide_of(picture), TissueConfig()).area_mm2 == 0


def test_small_gaps_belong_to_the_tissue_and_large_ones_do_not() -> None:
    picture = with_piece(50, 50, 800, 600)
    picture[100:200, 100:200] = GLASS
    picture[250:600, 400:800] = GLASS
    found = find_tissue(slide_of(picture), TissueConfig())
    cell = found.downsample
    assert found.mask[int(150 / cell), int(150 / cell)]
    assert not found.mask[int(425 / cell), int(600 / cell)]


def test_pale_tissue_on_tinted_glass_is_found() -> None:
    picture = np.full((700, 900, 3), (232, 236, 228), np.uint8)
    picture[200:500, 200:600] = (226, 205, 216)
    found = find_tissue(slide_of(picture), TissueConfig())
    assert found.area_mm2 == pytest.approx(400 * 300 * 0.25e-6, rel=0.12)


def test_fat_and_mucus_joined_to_tissue_are_found_and_a_smear_apart_is_not() -> None:
    picture = with_piece(100, 100, 300, 400)
    fat = picture[100:300, 400:700]
    for width in range(4):
        fat[width::60, :] = fat[:, width::60] = (215, 160, 195)
    picture[300:500, 400:700] = (226, 212, 231)
    picture[250:450, 780:880] = (228, 216, 232)
    found = find_tissue(slide_of(picture), TissueConfig())
    whole = found.mask[:, : int(760 / found.downsample)]
    expected = (300 * 400 + 300 * 400) * 0.25e-6
    assert found.area_mm2 == pytest.approx(expected, rel=0.08)
    assert whole.sum() == found.mask.sum()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 3])
def test_phantoms_are_found_as_they_were_drawn(seed: int) -> None:
    from PIL import Image

    from ruichat.slide.phantom import NO_TISSUE, PhantomConfig, draw_phantom

    phantom = draw_phantom(PhantomConfig(seed=seed, width0=1536, height0=1152))
    found = find_tissue(slide_of(phantom.rgb, mpp=phantom.config.mpp), TissueConfig())
    truth = phantom.classes != NO_TISSUE
    mask = np.asarray(Image.fromarray(found.mask).resize(truth.shape[::-1]))
    both = (mask & truth).sum()
    assert both / truth.sum() > 0.85
    assert both / mask.sum() > 0.97
    assert found.stain_warning is None


@pytest.mark.parametrize("color", [(150, 110, 70), (40, 160, 90), (90, 130, 210)])
def test_stains_that_are_not_he_are_warned_about(color: tuple[int, int, int]) -> None:
    picture = np.clip(draw_tissue(900, 700).astype(int) - 40, 0, 255)
    picture = (picture * 0.1 + np.array(color) * 0.9).astype(np.uint8)
    found = find_tissue(slide_of(picture), TissueConfig())
    if found.area_mm2 > 0:
        assert found.stain_warning is not None
        assert "H&E" in found.stain_warning


def test_undecoded_ycbcr_is_recognised_and_its_glass_left_out() -> None:
    from PIL import Image

    true = with_piece(200, 150, 400, 300)
    false = np.asarray(Image.fromarray(true).convert("YCbCr"))
    found = find_tissue(slide_of(np.frombuffer(false.tobytes(), np.uint8).reshape(false.shape)),
                        TissueConfig())  # fmt: skip
    assert found.stain_warning is not None
    assert "YCbCr" in found.stain_warning
    assert found.area_mm2 == pytest.approx(400 * 300 * 0.25e-6, rel=0.15)


def test_otsu_splits_two_groups() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 0.02, 4000), rng.normal(1, 0.1, 500)])
    assert 0.1 < otsu(values.astype(np.float32)) < 0.8


def test_otsu_of_one_value_is_that_value() -> None:
    assert otsu(np.full(50, 0.25, np.float32)) == pytest.approx(0.25, abs=0.5)
