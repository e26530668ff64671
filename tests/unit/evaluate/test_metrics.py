from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.chat.calibration import calibration_error
from ruichat.evaluate.metrics import (
    Bootstrap,
    Estimate,
    accuracy_at_coverage,
    area_under_roc,
    balanced_accuracy,
    calibration_gap,
)

labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40).map(
    lambda pairs: np.array(pairs, np.int64).T
)
judged = st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=40).map(
    lambda pairs: (np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]))
)


def test_balanced_accuracy_counts_classes_alike() -> None:
    truth = np.array([0] * 8 + [1] * 2)
    assert balanced_accuracy(truth, np.zeros(10, np.int64)) == pytest.approx(0.5)
    assert balanced_accuracy(truth, truth) == 1
    assert balanced_accuracy(truth, 1 - truth) == 0


@given(labels)
def test_balanced_accuracy_lies_between_nothing_and_all(pairs: np.ndarray) -> None:
    truth, guess = pairs
    score = balanced_accuracy(truth, guess)
    assert 0 <= score <= 1
    assert (score == 1) == bool((truth == guess).all())
    order = np.random.default_rng(0).permutation(len(truth))
    assert balanced_accuracy(truth[order], guess[order]) == pytest.approx(score)


@given(labels)
def test_weight_is_the_same_as_repeating(pairs: np.ndarray) -> None:
    truth, guess = pairs
    times = np.random.default_rng(1).integers(0, 4, len(truth))
    if times.sum() == 0:
        return
    weighted = balanced_accuracy(truth, guess, times.astype(float))
    repeated = balanced_accuracy(np.repeat(truth, times), np.repeat(guess, times))
    assert weighted == pytest.approx(repeated)


@given(judged)
def test_calibration_gap_is_that_of_the_chat(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    confidence, correct = pairs
    gap = calibration_gap(confidence, correct)
    assert gap == pytest.approx(calibration_error(confidence.tolist(), correct.tolist()))


def test_calibration_gap_of_known_cases() -> None:
    sure = np.full(10, 0.8)
    assert calibration_gap(sure, np.arange(10) < 8) == pytest.approx(0)
    assert calibration_gap(sure, np.zeros(10, bool)) == pytest.approx(0.8)
    assert math.isnan(calibration_gap(np.zeros(0), np.zeros(0, bool)))


def test_accuracy_at_coverage_keeps_the_surest() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    correct = np.array([True, True, False, False])
    assert accuracy_at_coverage(confidence, correct, 1.0) == pytest.approx(0.5)
    assert accuracy_at_coverage(confidence, correct, 0.5) == pytest.approx(1.0)
    assert accuracy_at_coverage(confidence, correct, 0.75) == pytest.approx(2 / 3)


@given(judged, st.sampled_from([0.1, 0.5, 0.7, 1.0]))
def test_ties_are_shared_out_whatever_the_order(
    pairs: tuple[np.ndarray, np.ndarray], coverage: float
) -> None:
    confidence, correct = pairs
    order = np.random.default_rng(0).permutation(len(correct))
    one = accuracy_at_coverage(confidence, correct, coverage)
    two = accuracy_at_coverage(confidence[order], correct[order], coverage)
    assert one == pytest.approx(two)
    level = np.full(len(correct), 0.5)
    assert accuracy_at_coverage(level, correct, coverage) == pytest.approx(correct.mean())


@given(judged)
def test_area_under_roc_turns_over_with_the_score(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    score, positive = pairs
    area = area_under_roc(score, positive)
    if positive.all() or not positive.any():
        assert math.isnan(area)
    else:
        assert 0 <= area <= 1
        assert area_under_roc(-score, positive) == pytest.approx(1 - area)


def test_area_under_roc_of_known_cases() -> None:
    score = np.array([0.1, 0.4, 0.35, 0.8])
    assert area_under_roc(score, np.array([False, False, True, True])) == pytest.approx(0.75)
    assert area_under_roc(np.ones(4), np.array([False, True, False, True])) == pytest.approx(0.5)


@settings(max_examples=30)
@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(1, 10))
def test_interval_holds_the_score(right: list[bool], num_units: int) -> None:
    marks = np.array(right)
    unit = np.arange(len(marks)) % num_units
    estimate = Bootstrap(unit, num_draws=200, seed=0).ratio(marks)
    assert estimate.value == pytest.approx(marks.mean())
    assert 0 <= estimate.low <= estimate.high <= 1
    if marks.all() or not marks.any():
        assert estimate.low == estimate.high == estimate.value


def test_interval_is_wider_over_fewer_units() -> None:
    rng = np.random.default_rng(0)
    per_unit = rng.random(40) < 0.5
    marks = np.repeat(per_unit, 10)
    together = Bootstrap(np.repeat(np.arange(40), 10), num_draws=500, seed=0).ratio(marks)
    apart = Bootstrap(np.arange(400), num_draws=500, seed=0).ratio(marks)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_draws_are_the_same_for_a_seed() -> None:
    marks = np.arange(50) % 3 == 0
    one = Bootstrap(np.arange(50), num_draws=100, seed=3).ratio(marks)
    two = Bootstrap(np.arange(50), num_draws=100, seed=3).ratio(marks)
    other = Bootstrap(np.arange(50), num_draws=100, seed=4).ratio(marks)
    assert one == two
    assert (one.low, one.high) != (other.low, other.high)


def test_ratio_is_a_statistic_too() -> None:
    marks = (np.arange(30) % 4 == 0).astype(float)
    boot = Bootstrap(np.arange(30) // 3, num_draws=200, seed=0)
    ratio = boot.ratio(marks)
    statistic = boot.statistic(lambda w: float((w * marks).sum() / w.sum()))
    assert statistic.low == pytest.approx(ratio.low)
    assert statistic.high == pytest.approx(ratio.high)


def test_difference_of_the_same_is_nothing() -> None:
    marks, whole = np.arange(30) % 2 == 0, np.ones(30)
    gap = Bootstrap(np.arange(30), num_draws=100, seed=0).difference(marks, whole, marks, whole)
    assert (gap.value, gap.low, gap.high) == (0, 0, 0)


def test_what_is_not_defined_is_said_so() -> None:
    estimate = Bootstrap(np.arange(4), num_draws=50, seed=0).ratio(np.zeros(4), np.zeros(4))
    assert math.isnan(estimate.value)
    assert estimate.to_json() == {"value": None, "low": None, "high": None, "n": 0}
    assert Estimate(0.5, 0.25, 0.75, 8).to_json()["value"] == 0.5
