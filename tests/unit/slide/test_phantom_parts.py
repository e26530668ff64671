"""Arithmetic under the phantoms: light, smooth fields, point patterns, layout boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.slide.phantom.config import CLASS_INDEX, PhantomConfig
from ruichat.slide.phantom.epithelium import cell_borders
from ruichat.slide.phantom.fields import inside, scatter, smooth_noise, stretched_table, upsample
from ruichat.slide.phantom.layout import deal, disjoint_boxes, lay_out
from ruichat.slide.phantom.look import choose_look
from ruichat.slide.phantom.optics import transmit
from ruichat.slide.phantom.scene import new_scene
from ruichat.slide.phantom.sprites import STYLES, draw_bank

STAINS = choose_look(np.random.default_rng(0), randomise=False).stains
GLASS = (240.0, 242.0, 245.0)
# A busy machine is not a failure: no time limit per example.
PATIENT = settings(deadline=None, max_examples=40)
amounts = st.floats(0, 2, width=32)


def light_of(*stains: float) -> np.ndarray:
    fields = [np.full((1, 1), value, dtype=np.float32) for value in stains]
    return transmit(fields, STAINS, GLASS)[0, 0] / np.array(GLASS)


@PATIENT
@given(a=amounts, b=amounts, c=amounts, d=amounts)
def test_densities_add_so_intensities_multiply(a: float, b: float, c: float, d: float) -> None:
    both = light_of(a + c, b + d, 0.0)
    assert both == pytest.approx(light_of(a, b, 0.0) * light_of(c, d, 0.0), rel=1e-3, abs=1e-6)


@PATIENT
@given(h=amounts, e=amounts)
def test_unmixing_returns_the_amounts(h: float, e: float) -> None:
    density = -np.log10(light_of(h, e, 0.0))
    found, *_ = np.linalg.lstsq(STAINS.T.astype(float), density, rcond=None)
    assert found == pytest.approx([h, e, 0.0], abs=2e-3)


def test_bare_glass_has_the_background_colour() -> None:
    assert light_of(0.0, 0.0, 0.0) == pytest.approx(1.0)


@PATIENT
@given(
    rows=st.integers(1, 40), cols=st.integers(1, 40), step=st.integers(1, 9), value=st.floats(-5, 5)
)
def test_enlarging_keeps_constants_and_size(rows: int, cols: int, step: int, value: float) -> None:
    shape = (rows * step, cols * step)
    large = upsample(np.full((rows, cols), value, dtype=np.float32), step, shape)
    assert large.shape == shape
    assert large == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("scale", [2.0, 7.0, 28.0, 90.0])
def test_noise_has_unit_spread_at_every_scale(scale: float) -> None:
    field = smooth_noise(np.random.default_rng(1), (900, 900), scale)
    assert field.std() == pytest.approx(1.0, abs=0.25)
    assert abs(field.mean()) < 0.3


def test_fibre_table_is_periodic_and_stretched() -> None:
    table = stretched_table(np.random.default_rng(0), 20.0, 2.0)
    along = np.abs(np.diff(table, axis=1)).mean()
    across = np.abs(np.diff(table, axis=0)).mean()
    assert across > 4 * along
    assert np.abs(table[:, 0] - table[:, -1]).mean() < 3 * along


@PATIENT
@given(
    rows=st.integers(20, 300),
    cols=st.integers(20, 300),
    spacing=st.floats(6, 60),
    jitter=st.floats(0, 0.6),
)
def test_scattered_points_have_the_density_asked_for(
    rows: int, cols: int, spacing: float, jitter: float
) -> None:
    points = scatter(np.random.default_rng(0), (rows, cols), spacing, jitter)
    # A hexagonal lattice has one point per spacing**2 * sqrt(3) / 2.
    expected = rows * cols / (spacing**2 * 0.866)
    edge = 2 * (rows + cols) / spacing + 4
    assert abs(np.count_nonzero(inside(points, (rows, cols))) - expected) <= edge


@PATIENT
@given(seed=st.integers(0, 10_000), share=st.floats(0.02, 0.6))
def test_windows_cover_every_patch_without_overlap(seed: int, share: float) -> None:
    where = np.random.default_rng(seed).random((30, 40)) < share * 0.05
    count = np.zeros(where.shape, dtype=int)
    for top, bottom, left, right in disjoint_boxes(where):
        count[top:bottom, left:right] += 1
    assert count.max(initial=0) <= 1
    assert (count[where] == 1).all()


@PATIENT
@given(seed=st.integers(0, 1000), areas=st.lists(st.floats(1, 100), min_size=1, max_size=30))
def test_dealing_uses_only_wanted_classes(seed: int, areas: list[float]) -> None:
    config = PhantomConfig(mix={"fat": 2.0, "stroma": 1.0, "mucus": 0.0})
    given_to = deal(config, np.random.default_rng(seed), np.array(areas))
    assert set(given_to.tolist()) <= {CLASS_INDEX["fat"], CLASS_INDEX["stroma"]}


def test_cell_borders_lie_halfway_between_nuclei() -> None:
    config = PhantomConfig(width0=64, height0=64, fill=True)
    rng = np.random.default_rng(0)
    scene = new_scene(config, choose_look(rng, randomise=False), lay_out(config, rng), rng)
    points = np.array([[20.0, 32.0], [36.0, 32.0]], dtype=np.float32)
    gap_um = cell_borders(scene, points, 11.0)
    row = gap_um[32, 18:38]
    assert 18 + int(row.argmin()) == pytest.approx(28, abs=3)
    assert row[0] > 2.5


@pytest.mark.parametrize("kind", STYLES)
def test_sprites_fit_their_square_and_have_the_size_of_their_kind(kind: str) -> None:
    look = choose_look(np.random.default_rng(0), randomise=False)
    bank = draw_bank(STYLES[kind], look, 0.5, np.random.default_rng(1))
    inked = bank.keep < (1 + bank.keep.min()) / 2
    assert not inked[:, 0].any()
    assert not inked[:, :, -1].any()
    style = STYLES[kind]
    expected = np.pi / 4 * style.length**2 * sum(style.ratio) / 2 * np.exp(2 * style.spread**2)
    assert inked.sum(axis=(1, 2)).mean() * 0.25 == pytest.approx(expected, rel=0.35)
