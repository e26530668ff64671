"""The classifier knows its classes, where they part, and what it never saw."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ruichat.align.tile_classifier import ClassifierConfig, fit_classifier, fit_thresholds
from ruichat.histology import KEYS
from ruichat.truth.bank import TileBank
from ruichat.truth.tiles import MALIGNANT_ROW

WIDTH = len(KEYS) + 4
CONFIG = ClassifierConfig(steps=300, distance_dim=len(KEYS))


def noisy_logits(num: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of a well-calibrated reader of the first few classes."""
    rng = np.random.default_rng(seed)
    main = rng.integers(0, classes, num)
    logits = np.full((num, len(KEYS)), -20.0)
    # The log-odds of unit Gaussians two apart, given where a sample fell.
    seen = rng.standard_normal((num, classes)) + 2 * np.eye(classes)[main]
    logits[:, :classes] = 2 * seen
    return logits, main


def test_thresholds_undo_a_bias_that_let_one_class_swallow_another() -> None:
    logits, main = noisy_logits(4000, 2)
    biased = logits.copy()
    biased[:, 0] += 3
    assert (biased.argmax(1) == main)[main == 1].mean() < 0.7
    scale, shift = fit_thresholds(biased, main, 1e-6)
    fixed = (scale * biased + shift).argmax(1)
    for kind in (0, 1):
        assert (fixed == main)[main == kind].mean() == pytest.approx(0.92, abs=0.02)
    assert shift[1] - shift[0] == pytest.approx(3, abs=0.4)


def test_rare_classes_count_as_much_as_frequent_ones() -> None:
    logits, main = noisy_logits(6000, 2)
    keep = (main == 0) | (np.arange(len(main)) % 10 == 0)
    _, shift = fit_thresholds(logits[keep], main[keep], 1e-6)
    assert abs(shift[1] - shift[0]) < 0.3


def test_overconfidence_is_scaled_down_and_a_class_not_seen_stays() -> None:
    logits, main = noisy_logits(4000, 3)
    scale, shift = fit_thresholds(4 * logits, main, 1e-6)
    assert scale == pytest.approx(0.25, rel=0.15)
    assert (shift[3:] == 0).all()


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
    # Only the thresholds, and with them the scale of all weights, follow the held-out groups.
    np.testing.assert_allclose(
        one.weight / one.weight[0, 0], other.weight / other.weight[0, 0], rtol=1e-3
    )
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
