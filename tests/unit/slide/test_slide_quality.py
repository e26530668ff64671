"""Faults are found where they lie, not where there are none, and rules say by how much."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from drawn import Picture, draw_tissue, slide_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ruichat.slide.arrays import Bools
from ruichat.slide.bubbles import BubbleConfig, find_rings
from ruichat.slide.choice import ChoiceConfig, TileChoice, choose_tiles
from ruichat.slide.focus import FocusConfig, measure_focus
from ruichat.slide.grid import GridConfig, TileGrid, lay_grid
from ruichat.slide.phantom import PhantomConfig, draw_phantom
from ruichat.slide.picture import FAULT_COLORS
from ruichat.slide.picture import draw_tissue as draw_check
from ruichat.slide.quality_rules import QualityRules, RuleResult, apply_rules
from ruichat.slide.slide import Slide
from ruichat.slide.slide_quality import FAULTS, Fault, QualityConfig, SlideQuality, inspect_slide
from ruichat.slide.tissue import TissueConfig, find_tissue

MPP = 1.0
CELL_PX = 16

INKS = {
    "blue": (1.15, 0.75, 0.18),
    "green": (1.05, 0.30, 0.75),
    "black": (1.25, 1.22, 1.15),
    "red": (0.12, 0.95, 0.80),
    "crimson": (0.15, 0.95, 0.70),
    "violet": (0.85, 1.05, 0.30),
}


@cache
def clean() -> Picture:
    """1.5 x 1.2 mm of tissue with its outline, 1 um/px."""
    rgb = draw_phantom(PhantomConfig(seed=0, width0=1536, height0=1152, mpp=MPP)).rgb
    rgb.setflags(write=False)
    return rgb


def inspect(picture: Picture) -> SlideQuality:
    slide = slide_of(picture, mpp=MPP)
    return inspect_slide(slide, find_tissue(slide, TissueConfig()), QualityConfig())


def with_ink(color: str, strength: float = 0.6) -> tuple[Picture, tuple[slice, slice]]:
    place = (slice(450, 750), slice(200, 1300))
    picture = clean().copy()
    light = 10 ** (-strength * np.array(INKS[color]))
    picture[place] = (picture[place] * light).astype(np.uint8)
    return picture, place


def with_ring(radius_um: float, squeeze: float = 1.0) -> tuple[Picture, Bools]:
    """A bubble: a rim that takes 60 % of the light, washed out within."""
    y, x = np.mgrid[: clean().shape[0], : clean().shape[1]] * MPP
    away = np.hypot(x - 800, (y - 560) / squeeze) / radius_um
    rim = np.exp(-(((away - 1) / 0.035) ** 2))
    light = clean() * (1 - 0.6 * rim[..., None])
    inside = np.clip((1 - away) / 0.05, 0, 1)[..., None] * 0.3
    light += inside * (light.mean(axis=(0, 1)) - light)
    return light.astype(np.uint8), away < 1.1


def with_layers(
    tissue: Picture, strip: Bools, layers: int, *, gain: float = 1.0, above: bool = True
) -> Picture:
    """Tissue stained `gain` times as strongly, with that from above or below on top in a strip."""
    od = -np.log10((tissue + 1.0) / 256) * gain
    step = 170 if above else -170
    beside = [np.roll(od, (step * layer, 60), axis=(0, 1))[strip] for layer in range(1, layers)]
    od[strip] += np.sum(beside, axis=0)
    light = np.clip(256 * 10.0**-od - 1, 0, 255)
    return np.asarray(light, np.uint8)


def pleat() -> Bools:
    """A strip of 80 um through the tissue."""
    y, x = np.mgrid[: clean().shape[0], : clean().shape[1]] * MPP
    return (np.abs(y - 560 - 40 * np.sin(x / 150)) < 40) & (x > 350) & (x < 1150)


def blurred(sigma_um: float) -> Picture:
    soft = ndimage.gaussian_filter(clean(), (sigma_um / MPP, sigma_um / MPP, 0))
    return np.asarray(soft, np.uint8)


def box(place: tuple[slice, slice]) -> Bools:
    truth = np.zeros(clean().shape[:2], bool)
    truth[place] = True
    return truth


def overlap(quality: SlideQuality, fault: Fault, place: Bools) -> tuple[float, float]:
    """Precision and recall of a mask against the truth, pixel by pixel."""
    mask = quality.finding(fault).mask
    height, width = mask.shape
    truth = place[: height * CELL_PX, : width * CELL_PX]
    truth = truth.reshape(height, CELL_PX, width, CELL_PX).mean(axis=(1, 3)) > 0.5
    both = (mask & truth).sum()
    return both / max(1, mask.sum()), both / truth.sum()


def test_a_clean_slide_has_no_faults_and_keeps_every_rule() -> None:
    quality = inspect(clean())
    assert [one.fault for one in quality.findings] == list(FAULTS)
    assert all(one.share < 0.01 for one in quality.findings)
    assert all(one.passed for one in apply_rules(quality, 1.0, QualityRules()))


@pytest.mark.parametrize("color", ["blue", "green", "black", "red"])
@pytest.mark.parametrize("strength", [0.45, 0.8])
def test_pens_are_found_over_tissue_and_glass(color: str, strength: float) -> None:
    picture, place = with_ink(color, strength)
    quality = inspect(picture)
    precision, recall = overlap(quality, "pen", box(place))
    assert precision > 0.9 and recall > 0.85
    assert 0.2 < quality.finding("pen").share < 0.6


@pytest.mark.parametrize("color", ["crimson", "violet"])
def test_pens_in_the_colour_of_a_stain_are_found(color: str) -> None:
    picture, place = with_ink(color)
    precision, recall = overlap(inspect(picture), "pen", box(place))
    assert precision > 0.9 and recall > 0.6


def test_a_lake_of_blood_is_no_pen() -> None:
    """Blood is red ink by its colour, but no stroke."""
    y, x = np.mgrid[: clean().shape[0], : clean().shape[1]] * MPP
    angle = np.arctan2(y - 560, x - 800)
    lake = np.hypot(x - 800, y - 560) < 250 * (1 + 0.15 * np.sin(3 * angle))
    picture = clean().copy()
    picture[lake] = 235 * 10 ** -(0.5 * np.array((0.08, 0.80, 0.60)))
    assert inspect(picture).finding("pen").share == 0


def test_bluish_light_all_over_a_view_without_glass_is_no_pen() -> None:
    """Cameras on microscopes give such pictures; a stroke beside its tissue stays one."""
    light = np.array((0.45, 0.15, 0.05))
    tissue = draw_tissue(900, 700)[100:600, 100:800]
    lit = tissue * 10**-light
    half = np.where((np.arange(700) < 250)[:, None], lit, tissue)
    assert inspect(lit.astype(np.uint8)).finding("pen").share == 0
    assert inspect(half.astype(np.uint8)).finding("pen").share > 0.25


def test_a_pen_over_the_tissue_breaks_the_rule_by_what_is_too_much() -> None:
    quality = inspect(with_ink("green")[0])
    missed = [one for one in apply_rules(quality, 1.0, QualityRules()) if not one.passed]
    assert [one.rule for one in missed] == ["max_pen"]
    assert missed[0].excess == pytest.approx(quality.finding("pen").share - 0.1)


@pytest.mark.parametrize("sigma_um", [2.0, 3.0, 4.5])
def test_the_width_of_a_blur_is_measured(sigma_um: float) -> None:
    quality = inspect(blurred(sigma_um))
    assert quality.blur_um == pytest.approx(sigma_um, rel=0.25)
    assert quality.finding("blur").share > 0.8
    assert "max_blur" in {r.rule for r in apply_rules(quality, 1.0, QualityRules()) if not r.passed}


def test_blur_is_found_where_it_lies() -> None:
    place = (slice(320, 704), slice(512, 1024))
    picture = clean().copy()
    picture[place] = blurred(3.0)[place]
    precision, recall = overlap(inspect(picture), "blur", box(place))
    assert precision > 0.8 and recall > 0.6


@pytest.mark.parametrize(("radius_um", "squeeze"), [(110.0, 1.0), (150.0, 0.94), (280.0, 1.05)])
def test_bubbles_are_found_with_what_lies_inside(radius_um: float, squeeze: float) -> None:
    picture, truth = with_ring(radius_um, squeeze)
    precision, recall = overlap(inspect(picture), "bubble", truth)
    assert precision > 0.9 and recall > 0.85


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("gain", [0.6, 1.0, 1.4])
def test_pleats_are_found_however_strong_the_stain(layers: int, gain: float) -> None:
    strip = pleat()
    precision, recall = overlap(
        inspect(with_layers(clean(), strip, layers, gain=gain)), "fold", strip
    )
    assert precision > 0.8 and recall > 0.6


def test_a_rim_that_is_turned_over_is_a_fold() -> None:
    tissue = draw_tissue(1792, 1504, margin=300)
    strip = np.zeros(tissue.shape[:2], bool)
    strip[300:390, 500:1200] = True
    precision, recall = overlap(inspect(with_layers(tissue, strip, 2, above=False)), "fold", strip)
    assert precision > 0.8 and recall > 0.6


def test_a_fold_that_is_a_quarter_of_a_small_piece_is_found() -> None:
    """It is then most of what is dense, so the slide's stain is measured off it."""
    tissue = draw_tissue(750, 550, margin=20)
    y, x = np.mgrid[: tissue.shape[0], : tissue.shape[1]]
    strip = np.abs(y - 275 - 30 * np.sin(x / 150)) < 60
    quality = inspect(with_layers(tissue, strip, 2))
    mask = quality.finding("fold").mask
    rows, columns = mask.shape
    truth = strip[8::CELL_PX, 8::CELL_PX][:rows, :columns] & quality.tissue
    assert 0.2 < truth.sum() / quality.tissue.sum() < 0.3
    assert (mask & truth).sum() > 0.7 * truth.sum()
    assert (mask & truth).sum() > 0.9 * mask.sum()


def test_a_strand_as_dense_as_other_tissue_is_no_fold() -> None:
    """Septa of fat, and crypts of pale mucosa, are denser than what lies beside them."""
    tissue = draw_tissue(1600, 1200)
    od = -np.log10((tissue + 1.0) / 256)
    od[:, 800:] *= 0.4
    od[560:640, 800:] /= 0.4
    quality = inspect(np.clip(256 * 10.0**-od - 1, 0, 255).astype(np.uint8))
    assert quality.finding("fold").share == 0


@settings(max_examples=20)
@given(st.integers(60, 120), st.floats(0.5, 2))
def test_a_ring_is_found_at_any_place_and_contrast(centre: int, gain: float) -> None:
    """On bare glass, from the edge of the view inwards."""
    y, x = np.mgrid[:180, :200]
    away = np.hypot(x - centre, y - 90) / 20
    od = (0.02 + 0.25 * gain * np.exp(-(((away - 1) / 0.06) ** 2))).astype(np.float32)
    rings = find_rings(np.repeat(od[..., None], 3, axis=-1), BubbleConfig())
    assert len(rings) == 1
    assert np.hypot(rings[0].x - centre, rings[0].y - 90) < 3
    assert rings[0].radius == pytest.approx(20, abs=2.5)


def test_a_stained_ring_is_no_bubble() -> None:
    """Epithelium around a lumen is as dark, but purple."""
    y, x = np.mgrid[:180, :200]
    rim = np.exp(-(((np.hypot(x - 100, y - 90) / 20 - 1) / 0.06) ** 2))
    od = 0.02 + 0.4 * rim[..., None] * np.array((0.65, 0.70, 0.05))
    assert find_rings(od.astype(np.float32), BubbleConfig()) == []


def chosen(picture: Picture) -> tuple[TileGrid, TileChoice]:
    slide = slide_of(picture, mpp=MPP)
    tissue = find_tissue(slide, TissueConfig())
    grid = lay_grid(slide, tissue, GridConfig(tile_px=112, tile_mpp=1.0))
    return grid, choose_tiles(grid, inspect_slide(slide, tissue, QualityConfig()), ChoiceConfig())


def test_every_tile_of_a_clean_slide_is_kept() -> None:
    grid, choice = chosen(clean())
    assert np.array_equal(choice.grid.xy0, grid.xy0)
    assert choice.left_out == {} and choice.warning is None


def test_inked_tiles_are_left_out_and_counted() -> None:
    picture, place = with_ink("green")
    grid, choice = chosen(picture)
    gone = {tuple(xy) for xy in grid.xy0} - {tuple(xy) for xy in choice.grid.xy0}
    middles = np.array(sorted(gone)) + 56
    assert choice.left_out == {"pen": len(gone)} and len(gone) >= 3
    assert box(place)[middles[:, 1], middles[:, 0]].all()
    assert choice.warning == f"{len(gone)} of {len(grid)} tiles left out: pen {len(gone)}"


def test_where_nearly_every_tile_is_blurred_all_are_kept_with_a_warning() -> None:
    grid, choice = chosen(blurred(4.0))
    assert len(choice.grid) == len(grid)
    assert choice.all_spoilt and choice.warning is not None


def test_blur_does_not_hang_on_contrast() -> None:
    pale = (255 - (255 - clean().astype(int)) * 0.5).astype(np.uint8)
    assert inspect(pale).blur_um == pytest.approx(inspect(clean()).blur_um, rel=0.1)


def test_focus_is_measured_on_a_part_where_all_would_be_too_much() -> None:
    slide = slide_of(np.tile(draw_tissue(512, 512), (9, 9, 1)))
    whole = np.ones((64, 64), bool)
    some = measure_focus(slide, whole, 72.0, FocusConfig(max_source_px=8_000_000))
    every = measure_focus(slide, whole, 72.0, FocusConfig())
    assert every.measured == 1
    assert 0 < some.measured < 0.7
    assert some.median_um == pytest.approx(every.median_um, rel=0.2)


def test_black_borders_are_told_from_pens() -> None:
    picture = clean().copy()
    picture[:, :80] = 3
    quality = inspect(picture)
    assert quality.finding("border").area_mm2 == pytest.approx(0.08 * 1.152, rel=0.1)
    assert quality.finding("pen").area_mm2 == 0


def test_on_other_stains_pens_cannot_be_told() -> None:
    brown = np.array((150, 110, 70)) * 0.9
    picture = (np.clip(draw_tissue(600, 500).astype(int) - 40, 0, 255) * 0.1 + brown).astype("u1")
    quality = inspect(picture)
    results = {one.rule: one for one in apply_rules(quality, 1.0, QualityRules())}
    assert math.isnan(quality.finding("pen").share) and results["max_pen"].passed
    assert not results["min_he"].passed


@pytest.mark.parametrize(("gain", "rule"), [(0.15, "min_stain_od"), (8.0, "max_stain_od")])
def test_weak_and_strong_stains_are_told(gain: float, rule: str) -> None:
    od = -np.log10((draw_tissue(600, 500, margin=100) + 1.0) / 256) * gain
    quality = inspect(np.clip(256 * 10.0**-od - 1, 0, 255).astype(np.uint8))
    assert rule in {one.rule for one in apply_rules(quality, 1.0, QualityRules()) if not one.passed}


@given(
    value=st.floats(0, 10), limit=st.floats(0, 10), sense=st.sampled_from(["at most", "at least"])
)
def test_a_rule_is_kept_exactly_where_nothing_is_too_much(value: float, limit: float, sense: str):
    result = RuleResult("any", value, limit, sense)  # pyright: ignore[reportArgumentType]
    assert result.passed == (value <= limit if sense == "at most" else value >= limit)
    assert result.passed == (result.excess <= 0)
    assert abs(result.excess) == abs(value - limit)


def test_faults_are_drawn_in_their_colours_above_a_legend() -> None:
    picture, _ = with_ink("green")
    slide: Slide = slide_of(picture, mpp=MPP)
    tissue = find_tissue(slide, TissueConfig())
    quality = inspect_slide(slide, tissue, QualityConfig())
    plain = draw_check(slide, tissue, max_px=600)
    drawn = draw_check(slide, tissue, None, quality, max_px=600)
    inked = np.asarray(drawn)[280, 300].astype(int) - np.asarray(plain)[280, 300].astype(int)
    toward = np.array(FAULT_COLORS["pen"]) - np.asarray(plain)[280, 300].astype(int)
    assert np.abs(inked - 0.55 * toward).max() <= 2
    assert drawn.height > 450 and (np.asarray(drawn)[450:] == FAULT_COLORS["pen"]).all(-1).any()
