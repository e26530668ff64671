"""Regions must partition any set of tiles, stay on the slide and be named in reading order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.model.regions import GEOMETRY_DIM, split_regions

cells = st.sets(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=150)


@settings(max_examples=60, deadline=None)
@given(cells=cells, span=st.sampled_from([112, 448, 896]), k=st.integers(1, 48))
def test_every_tile_lies_in_exactly_its_region(cells, span, k):
    xy0 = np.array(sorted(cells), np.int64) * span
    # The last column and row stick out of the slide by half a tile.
    size0 = (int(xy0[:, 0].max() + span // 2), int(xy0[:, 1].max() + span // 2))
    regions = split_regions(xy0, span, 0.25, size0, k)

    assert len(regions) == min(k, len(xy0))
    assert regions.num_tiles.min() >= 1
    assert regions.num_tiles.max() <= max(2 * len(xy0) / len(regions) + 2, 2)
    assert regions.geometry.shape == (len(regions), GEOMETRY_DIM)
    assert np.isfinite(regions.geometry).all()
    assert np.abs(regions.geometry[:, :2]).max() <= 1 + 1e-6
    for name in regions.names:
        box = regions.box(name).check_inside(*size0)
        tiles = xy0[regions.tiles(name)]
        assert (tiles >= [box.x, box.y]).all()
        end = np.minimum(tiles + span, size0)
        assert (end <= [box.x + box.width, box.y + box.height]).all()


@settings(max_examples=30, deadline=None)
@given(cells=cells, seed=st.integers(0, 99))
def test_order_of_tiles_does_not_matter(cells, seed):
    xy0 = np.array(sorted(cells), np.int64) * 224
    shuffle = np.random.default_rng(seed).permutation(len(xy0))
    a = split_regions(xy0, 224, 0.5, (10000, 10000), 16)
    b = split_regions(xy0[shuffle], 224, 0.5, (10000, 10000), 16)
    assert a.boxes == b.boxes
    assert (a.assignment[shuffle] == b.assignment).all()


def test_names_run_left_to_right_then_down():
    xy0 = np.array([(x, y) for y in range(8) for x in range(8)], np.int64) * 224
    regions = split_regions(xy0, 224, 0.5, (1792, 1792), 16)
    corners = [(box.y, box.x) for box in regions.boxes]
    assert corners == sorted(corners)
    assert {box.width for box in regions.boxes} == {448}


def test_a_cut_falls_between_two_pieces_of_tissue():
    left = [(x, y) for x in range(5) for y in range(4)]
    right = [(x + 20, y) for x in range(5) for y in range(5)]
    xy0 = np.array(left + right, np.int64) * 100
    regions = split_regions(xy0, 100, 0.5, (3000, 3000), 2)
    assert sorted(regions.num_tiles.tolist()) == [20, 25]


def test_geometry_is_in_millimetres():
    xy0 = np.array([(0, 0), (1000, 0)], np.int64)
    geometry = split_regions(xy0, 1000, 0.5, (2000, 1000), 2).geometry
    np.testing.assert_allclose(geometry[0, :4], [-0.5, 0, 0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(geometry[0, 4:], [np.log(0.25), -0.25, 0, np.log(2)], atol=1e-6)


def test_unknown_names_are_refused():
    regions = split_regions(np.array([[0, 0]], np.int64), 224, 0.5, (500, 500))
    assert regions.index("[R1]") == 0
    for name in ("R2", "R0", "7", "X1"):
        with pytest.raises(InputError):
            regions.index(name)
    with pytest.raises(InputError, match="no tissue"):
        split_regions(np.zeros((0, 2), np.int64), 224, 0.5, (500, 500))
