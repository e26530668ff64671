"""What the encoder's statistics become: class axes, then whitened components."""

from __future__ import annotations

import numpy as np

from ruichat.align.embeddings import fit_blocks, fit_reduction
from ruichat.features.mini.graph import WIDTHS

S, C, DIM = 20, 3, 9


def statistics(n: int = 400, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((S, S)) * np.geomspace(3, 0.05, S)[:, None]
    return (rng.standard_normal((n, S)) @ mixing + 5 * rng.standard_normal(S)).astype(np.float32)


def axes() -> np.ndarray:
    return np.random.default_rng(9).standard_normal((C, S)).astype(np.float32)


def reduce(x: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    weight = np.full(len(x), 1 / len(x)) if weight is None else weight
    return fit_reduction(x, weight, DIM, axes())


def test_leading_rows_are_the_axes_of_the_classes() -> None:
    _, reduction = reduce(statistics())
    assert reduction.shape == (DIM, S)
    unit = reduction / np.linalg.norm(reduction, axis=1, keepdims=True)
    wanted = axes() / np.linalg.norm(axes(), axis=1, keepdims=True)
    np.testing.assert_allclose((unit[:C] * wanted).sum(1), 1, atol=1e-5)


def test_axes_are_as_wide_as_the_widest_component() -> None:
    x = statistics()
    center, reduction = reduce(x)
    z = (x - center) @ reduction.T
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-3)
    width = z.std(0)
    np.testing.assert_allclose(width[:C], width[C], rtol=1e-3)
    assert np.all(np.diff(width[C:]) < 1e-4)


def test_components_are_uncorrelated() -> None:
    x = statistics()
    center, reduction = reduce(x)
    covariance = np.cov(((x - center) @ reduction[C:].T).T)
    off = covariance - np.diag(np.diag(covariance))
    assert np.abs(off).max() < 1e-3 * covariance.max()


def test_weight_counts_as_repetition() -> None:
    x = statistics(60)
    times = np.random.default_rng(0).integers(1, 4, len(x))
    by_weight = reduce(x, times / times.sum())
    by_repetition = reduce(np.repeat(x, times, 0))
    np.testing.assert_allclose(by_weight[0], by_repetition[0], rtol=1e-4, atol=1e-4)
    # Components may point either way.
    np.testing.assert_allclose(np.abs(by_weight[1]), np.abs(by_repetition[1]), rtol=2e-2, atol=1e-3)


def test_blocks_read_their_own_stages_and_the_last_holds_the_axes() -> None:
    total = 2 * sum(WIDTHS)
    x = np.random.default_rng(0).standard_normal((300, total)).astype(np.float32)
    weight = np.full(len(x), 1 / len(x))
    directions = np.random.default_rng(1).standard_normal((C, total)).astype(np.float32)
    center, reduction = fit_blocks(x, weight, 30, directions, 2)
    ends = np.cumsum([2 * width for width in WIDTHS])
    assert not reduction[:15, ends[2] :].any() and not reduction[15:, : ends[2]].any()
    assert reduction[:15, : ends[2]].any(1).all() and reduction[15:, ends[2] :].any(1).all()
    np.testing.assert_allclose(center, x.mean(0), atol=1e-5)
    found = reduction[15 : 15 + C, ends[2] :]
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    wanted = directions[:, ends[2] :]
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose((unit * wanted).sum(1), 1, atol=1e-5)
    one = fit_blocks(x, weight, 30, directions, 1)
    np.testing.assert_array_equal(one[1], fit_reduction(x, weight, 30, directions)[1])


def test_a_block_wider_than_its_stages_ends_in_zeros() -> None:
    total = 2 * sum(WIDTHS)
    x = np.random.default_rng(0).standard_normal((300, total)).astype(np.float32)
    directions = np.random.default_rng(1).standard_normal((C, total)).astype(np.float32)
    _, reduction = fit_blocks(x, np.full(len(x), 1 / len(x)), 384, directions, 3)
    first = 2 * sum(np.array_split(WIDTHS, 3)[0])
    assert first < 128, "else there is nothing to see here"
    assert reduction[:first].any(1).all() and not reduction[first:128].any()
    assert reduction[128:].any(1).all()
