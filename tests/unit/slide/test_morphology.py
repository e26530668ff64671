"""Shapes in masks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from ruichat.slide.morphology import closed, near, touching, without_holes, without_small

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 25), st.integers(1, 25)))


@given(mask=masks, cells=st.integers(0, 30))
def test_removing_specks_only_removes_and_filling_only_adds(
    mask: NDArray[np.bool_], cells: int
) -> None:
    assert not (without_small(mask, cells) & ~mask).any()
    assert not (mask & ~without_holes(mask, cells)).any()
    assert np.array_equal(
        without_small(without_small(mask, cells), cells), without_small(mask, cells)
    )


@given(mask=masks, radius=st.floats(0, 5))
def test_closing_only_adds_and_stays_near(mask: NDArray[np.bool_], radius: float) -> None:
    got = closed(mask, radius)
    assert not (mask & ~got).any()
    assert not (got & ~near(mask, radius)).any()


def test_closing_bridges_narrow_gaps_and_not_wide_ones() -> None:
    mask = np.zeros((9, 30), bool)
    mask[:, :5] = mask[:, 8:12] = mask[:, 25:] = True
    got = closed(mask, 3)
    assert got[4, 5:8].all() and not got[4, 14:23].any()


def test_only_parts_with_enough_seeds_are_kept() -> None:
    mask = np.zeros((5, 20), bool)
    mask[:, 0:4] = mask[:, 6:16] = True
    seeds = np.zeros_like(mask)
    seeds[0, 0] = seeds[0, 6] = True
    assert touching(mask, seeds, 0.0).sum() == 70
    kept = touching(mask, seeds, 0.04)
    assert kept[:, 0:4].all() and kept.sum() == 20


@given(mask=masks, radius=st.one_of(st.floats(0, 30), st.integers(0, 30)))
def test_near_is_what_a_distance_transform_gives(mask: NDArray[np.bool_], radius: float) -> None:
    if not mask.any():
        assert not near(mask, radius).any()
        return
    squares = np.rint(ndimage.distance_transform_edt(~mask) ** 2)
    assert np.array_equal(near(mask, radius), squares <= radius**2)


def test_near_is_in_cells() -> None:
    mask = np.zeros((1, 5), bool)
    mask[0, 0] = True
    assert near(mask, 2.9)[0].tolist() == [True, True, True, False, False]
