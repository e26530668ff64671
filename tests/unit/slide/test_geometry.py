"""Scaling arithmetic that must hold for all slides."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.slide import geometry
from ruichat.slide.geometry import (
    choose_level,
    fill_rings,
    fit_factor,
    lay_axis,
    mask_fractions,
    output_size,
    split_rows,
    squares_to_level,
    to_level,
)
from ruichat.units import Region0

lengths = st.integers(1, 200_000)
spans = st.integers(16, 4096)
downsamples = st.floats(1, 64)


@given(length0=lengths, span0=spans)
def test_tiles_of_an_axis_lie_inside_and_in_order(length0: int, span0: int) -> None:
    starts = lay_axis(length0, span0)
    assert (starts >= 0).all() and (starts + span0 <= length0).all()
    assert (np.diff(starts) > 0).all()
    assert len(starts) == (0 if length0 < span0 else max(1, int(length0 / span0 + 0.5)))


@given(length0=lengths, span0=spans)
def test_tiles_of_an_axis_leave_little_out_and_overlap_little(length0: int, span0: int) -> None:
    starts = lay_axis(length0, span0)
    if len(starts) == 0:
        return
    if length0 >= 1.5 * span0:
        assert starts[0] <= span0 / 4
        assert length0 - (starts[-1] + span0) <= span0 / 4 + 1
    assert (np.diff(starts) <= span0).all()
    assert (np.diff(starts) >= span0 / 2 - 1).all()


@given(x=st.integers(-500, 500_000), width=st.integers(1, 100_000), downsample=downsamples)
def test_neighbouring_regions_stay_neighbours_at_every_level(
    x: int, width: int, downsample: float
) -> None:
    left = to_level(Region0(x, 0, width, 1), downsample)
    right = to_level(Region0(x + width, 0, width, 1), downsample)
    assert right.x - (left.x + left.width) in ({0} if width >= downsample else {-1, 0})
    assert abs(left.x * downsample - x) <= downsample / 2 + 1e-6 * abs(x)


@given(
    corners=st.lists(st.tuples(*[st.integers(-5000, 500_000)] * 2), max_size=8),
    span0=st.integers(1, 5000),
    downsample=downsamples,
)
def test_squares_lie_at_a_level_where_regions_do(
    corners: list[tuple[int, int]], span0: int, downsample: float
) -> None:
    xy0 = np.array(corners, np.int64).reshape(-1, 2)
    found = [tuple(place) for place in squares_to_level(xy0, span0, downsample).tolist()]
    assert found == [to_level(Region0(x, y, span0, span0), downsample) for x, y in corners]


def test_tiles_without_a_size_are_refused() -> None:
    with pytest.raises(InputError, match="tiles of 0 px"):
        squares_to_level(np.zeros((1, 2), np.int64), 0, 1.0)


@given(rest=st.lists(st.floats(1, 100), max_size=6), factor=st.floats(0.3, 200))
def test_the_level_chosen_is_fine_enough_and_no_finer_than_needed(
    rest: list[float], factor: float
) -> None:
    levels = sorted([1.0, *rest])
    chosen = levels[choose_level(levels, factor)]
    assert chosen <= max(1.0, factor * 1.02)
    assert not any(chosen < d <= factor for d in levels)


def test_a_level_that_was_rounded_serves() -> None:
    assert choose_level([1.0, 2.0005, 4.002], 2.0) == 1


@given(rows=st.integers(1, 3000), source=st.integers(1, 9000), block=st.integers(1, 700))
def test_blocks_of_rows_cover_all_rows_once(rows: int, source: int, block: int) -> None:
    blocks = split_rows(rows, source, block)
    assert [b[0] for b in blocks[1:]] == [b[1] for b in blocks[:-1]]
    assert blocks[0][0] == 0 and blocks[-1][1] == rows
    assert all(b[2] < b[3] <= source for b in blocks)
    assert blocks[0][2] == 0 and blocks[-1][3] == source


@given(width=st.integers(1, 90_000), height=st.integers(1, 90_000), max_px=st.integers(1, 3000))
def test_a_thumbnail_is_never_larger_than_asked(width: int, height: int, max_px: int) -> None:
    factor = fit_factor(width, height, max_px)
    assert max(output_size(Region0(0, 0, width, height), mpp=factor, base_mpp=1.0)) <= max_px


def test_a_thumbnail_of_no_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="0 px"):
        fit_factor(10, 10, 0)


@given(seed=st.integers(0, 99), cell=st.integers(1, 16), cells=st.integers(1, 8))
def test_mask_shares_equal_a_plain_count_where_tiles_meet_cells(
    seed: int, cell: int, cells: int
) -> None:
    mask = np.random.default_rng(seed).random((24, 17)) < 0.4
    xy0 = np.array([[x * cell, y * cell] for x, y in [(0, 0), (3, 5), (9, 16)]], np.int64)
    got = mask_fractions(mask, float(cell), xy0, cells * cell)
    plain = [mask[y : y + cells, x : x + cells].mean() for x, y in xy0 // cell]
    assert np.allclose(got, plain)


@given(x=st.integers(-50, 900), y=st.integers(-50, 900), span0=st.integers(1, 300), d=downsamples)
def test_mask_shares_are_shares(x: int, y: int, span0: int, d: float) -> None:
    share = mask_fractions(np.eye(12, dtype=bool), d, np.array([[x, y]], np.int64), span0)
    assert 0 <= share[0] <= 1


def inside(x: float, y: float, rings: list[list[tuple[float, float]]]) -> bool:
    """By the even-odd rule, one edge after the other."""
    flips = 0
    for ring in rings:
        for (x1, y1), (x2, y2) in pairwise(ring):
            if (y1 <= y) != (y2 <= y):
                flips += x1 + (y - y1) * (x2 - x1) / (y2 - y1) <= x
    return flips % 2 == 1


# Off the cells' centres, on which a side has to be chosen.
corners = st.tuples(*[st.integers(-40, 160).map(lambda n: n + 0.3)] * 2)


@given(
    shapes=st.lists(st.lists(corners, min_size=3, max_size=7), min_size=1, max_size=3),
    downsample=st.sampled_from([1.0, 7.0, 10.0]),
)
def test_cells_are_filled_whose_centres_lie_inside(
    shapes: list[list[tuple[float, float]]], downsample: float
) -> None:
    rings = [[*shape, shape[0]] for shape in shapes]
    width, height = 12, 10
    box, filled = fill_rings([np.array(ring) for ring in rings], downsample, (width, height))
    found = np.zeros((height, width), bool)
    found[box.y : box.y + box.height, box.x : box.x + box.width] = filled
    for y, x in np.ndindex(height, width):
        centre = (x + 0.5) * downsample, (y + 0.5) * downsample
        assert found[y, x] == inside(*centre, rings)


def test_edges_may_be_worked_on_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    angle = np.linspace(0, 2 * np.pi, 500)
    ring = np.stack([500 + 400 * np.cos(angle), 500 + 400 * np.sin(angle)], 1)
    ring[-1] = ring[0]
    _, at_once = fill_rings([ring], 10.0, (100, 100))
    monkeypatch.setattr(geometry, "_CROSSINGS", 1)
    _, one_by_one = fill_rings([ring], 10.0, (100, 100))
    assert (at_once == one_by_one).all()
    assert at_once.sum() == pytest.approx(np.pi * 40**2, rel=0.02)
