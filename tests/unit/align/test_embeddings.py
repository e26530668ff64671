"""What the encoder's statistics become: class axes, and a classifier that knows its own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ruichat.align.embeddings import EmbeddingConfig, fit_classifier, fit_reduction
from ruichat.histology import KEYS
from ruichat.truth.bank import TileBank
from ruichat.truth.tiles import MALIGNANT_ROW

S, C, DIM = 20, 3, 9
WIDTH = len(KEYS) + 4
CONFIG = EmbeddingConfig(classifier_steps=300, distance_dim=len(KEYS))


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


@pytest.fixture(scope="module")
def narrow(bank: TileBank) -> TileBank:
    """The bank with classes far apart along axes of their own, and four axes of noise behind."""
    rng = np.random.default_rng(1)
    place = 6 * np.eye(len(KEYS), WIDTH)[bank.target.argmax(1)]
    embeddings = place[:, None] + rng.standard_normal((len(place), 2, WIDTH))
    return dataclasses.replace(bank, embeddings=embeddings.astype(np.float32))


def test_classifier_reads_held_out_windows(narrow: TileBank) -> None:
    classifier = fit_classifier(narrow, CONFIG, "digest")
    held = narrow.split == "val"
    read = classifier.class_probabilities(narrow.embeddings[held, 0]).argmax(1)
    assert (read == narrow.target[held].argmax(1)).mean() > 0.9
    assert classifier.encoder_digest == "digest"


def test_tissue_far_from_every_class_is_unknown(narrow: TileBank) -> None:
    classifier = fit_classifier(narrow, CONFIG, "digest")
    held = narrow.embeddings[narrow.split == "val", 0]
    known = classifier.known_score(held)
    assert 0.3 < known.mean() < 0.7
    away = held.copy()
    away[:, 7] -= 100
    assert classifier.known_score(away).max() < 0.01
    # What training calls noise, behind the leading components, says nothing.
    behind = held.copy()
    behind[:, CONFIG.distance_dim :] += 100
    np.testing.assert_array_equal(classifier.known_score(behind), known)


def test_classifier_never_learns_from_other_splits(narrow: TileBank) -> None:
    one = fit_classifier(narrow, CONFIG, "digest")
    held = narrow.split == "val"
    wrong = narrow.target.copy()
    wrong[held] = np.roll(wrong[held], 1, axis=1)
    other = fit_classifier(dataclasses.replace(narrow, target=wrong), CONFIG, "digest")
    np.testing.assert_array_equal(one.weight, other.weight)
    np.testing.assert_array_equal(one.class_mean, other.class_mean)


def as_partial(bank: TileBank, rows: np.ndarray, lesion: float) -> TileBank:
    """The bank with some windows of which only the lesion's share is known."""
    target, partial = bank.target.copy(), bank.partial.copy()
    target[rows] = np.where(MALIGNANT_ROW, 0, (1 - lesion) / (~MALIGNANT_ROW).sum())
    target[rows, KEYS.index("breast_carcinoma")] = lesion
    partial[rows] = True
    return dataclasses.replace(bank, target=target, partial=partial)


def test_windows_half_filled_by_a_lesion_teach_no_class(narrow: TileBank) -> None:
    rows = np.flatnonzero(narrow.split == "train")[:20]
    bank = as_partial(narrow, rows, 0.5)
    moved = bank.embeddings.copy()
    moved[rows] += 50
    one = fit_classifier(bank, CONFIG, "digest")
    other = fit_classifier(dataclasses.replace(bank, embeddings=moved), CONFIG, "digest")
    np.testing.assert_array_equal(one.weight, other.weight)
    np.testing.assert_array_equal(one.class_mean, other.class_mean)


def test_unnamed_tissue_of_training_is_known_all_the_same(narrow: TileBank) -> None:
    rows = np.flatnonzero(narrow.split == "train")[:20]
    place = np.zeros(WIDTH, np.float32)
    place[:2] = -8
    embeddings = narrow.embeddings.copy()
    noise = np.random.default_rng(2).standard_normal(embeddings[rows].shape)
    embeddings[rows] = place + noise
    bank = dataclasses.replace(as_partial(narrow, rows, 0.0), embeddings=embeddings)
    near = (place + np.random.default_rng(3).standard_normal((30, WIDTH))).astype(np.float32)
    assert fit_classifier(bank, CONFIG, "digest").known_score(near).mean() > 0.2
    assert fit_classifier(narrow, CONFIG, "digest").known_score(near).mean() < 0.01
