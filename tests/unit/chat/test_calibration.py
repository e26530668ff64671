"""Confidence is calibrated, monotone, and decides the diagnosis class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.chat.calibration import (
    FILE_NAME,
    THINKING_FILE_NAME,
    AnswerSignal,
    Calibration,
    CalibrationRecord,
    KindCalibration,
    calibration_error,
    fit_calibration,
    load_calibration,
)
from ruichat.errors import ArtifactError, InputError

unit = st.floats(0, 1)


def draw_records(num: int, seed: int) -> list[CalibrationRecord]:
    """An overconfident model: words it writes with .9 are right far less often, by kind."""
    rng = np.random.default_rng(seed)
    records: list[CalibrationRecord] = []
    for i in range(num):
        decision, wording, pointing, support = (float(v) for v in rng.beta(5, 1, 4))
        kind = ("presence", "where")[i % 2]
        odds = (
            -1.5 + 0.5 * np.log(decision / (1 - decision)) + 0.4 * np.log(support / (1 - support))
        )
        right = rng.random() < 1 / (1 + np.exp(-(odds + (1.0 if kind == "where" else 0.0))))
        signal = AnswerSignal(decision, wording, pointing, support)
        records.append(CalibrationRecord(kind, signal, bool(right)))
    return records


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    return fit_calibration(draw_records(1500, seed=0), known_fractions=[0.9] * 99 + [0.5])


def test_calibration_lowers_the_error_on_answers_it_has_not_seen(fitted: Calibration) -> None:
    unseen = draw_records(3000, seed=1)
    right = [record.correct for record in unseen]
    before = calibration_error((record.signal.wording for record in unseen), right)
    after = calibration_error(
        (fitted.confidence(record.kind, record.signal) for record in unseen), right
    )
    assert before > 0.15
    assert after < 0.05


def test_kinds_are_calibrated_apart(fitted: Calibration) -> None:
    signal = AnswerSignal(0.8, 0.9, 1.0, 0.8)
    assert set(fitted.kinds) == {"presence", "where"}
    assert fitted.confidence("where", signal) > fitted.confidence("presence", signal) + 0.05
    assert fitted.confidence("unheard of", signal) == fitted.default.confidence(signal)


def test_the_known_threshold_passes_nearly_all_known_slides(fitted: Calibration) -> None:
    assert 0.5 <= fitted.known_fraction <= 0.9


@given(a=st.tuples(unit, unit, unit, unit), b=st.tuples(unit, unit, unit, unit))
def test_confidence_is_monotone_and_bounded(
    fitted: Calibration, a: tuple[float, ...], b: tuple[float, ...]
) -> None:
    low = AnswerSignal(*(min(x, y) for x, y in zip(a, b, strict=True)))
    high = AnswerSignal(*(max(x, y) for x, y in zip(a, b, strict=True)))
    for kind in ("presence", "where", "other"):
        assert 0 < fitted.confidence(kind, low) <= fitted.confidence(kind, high) < 1


@given(a=unit, b=unit)
def test_classes_fall_with_confidence(fitted: Calibration, a: float, b: float) -> None:
    order = ("IV", "III", "II", "I")
    low, high = sorted((a, b))
    assert order.index(fitted.diagnosis_class(low)) <= order.index(fitted.diagnosis_class(high))


def test_answers_that_are_all_right_do_not_run_to_certainty() -> None:
    records = [
        CalibrationRecord("presence", record.signal, True) for record in draw_records(60, seed=2)
    ]
    fitted = fit_calibration(records)
    assert 0.8 < fitted.confidence("presence", AnswerSignal(0.9, 0.9, 1.0, 0.9)) < 1


def test_few_records_are_refused() -> None:
    with pytest.raises(InputError, match="at least 40"):
        fit_calibration(draw_records(39, seed=0))


def test_it_survives_the_disk(fitted: Calibration, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    assert load_calibration(tmp_path) == fitted


def test_a_folder_without_one_has_none(tmp_path: Path) -> None:
    assert load_calibration(tmp_path) is None


def test_a_damaged_one_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"schema_version": 9}')
    with pytest.raises(ArtifactError, match="calibration"):
        load_calibration(tmp_path)


@pytest.mark.parametrize(
    "default",
    [
        '{"bias": NaN, "weights": [1, 0, 0, 0]}',
        '{"bias": 0, "weights": [1, 0, 0, Infinity]}',
        '{"bias": 0, "weights": [1, 0, 0, -1]}',
    ],
)
def test_one_that_could_not_be_monotone_is_refused(default: str, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(f'{{"default": {default}}}')
    with pytest.raises(ArtifactError, match="is not a calibration"):
        load_calibration(tmp_path)


def test_weights_must_match_the_signals() -> None:
    with pytest.raises(ValueError):
        KindCalibration(bias=0, weights=(1.0,))


def test_a_signal_out_of_range_is_refused() -> None:
    with pytest.raises(InputError):
        AnswerSignal(1.2, 0.5, 0.5, 0.5).logits()


def test_calibration_error_of_known_cases() -> None:
    assert calibration_error([], []) == 0
    assert calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert calibration_error([0.9, 0.9], [False, False]) == pytest.approx(0.9)


def test_answers_with_thoughts_have_a_calibration_of_their_own(tmp_path: Path) -> None:
    records = draw_records(60, seed=0)
    plain, thinking = fit_calibration(records), fit_calibration(records, thinking=True)
    plain.save(tmp_path)
    assert load_calibration(tmp_path, thinking=True) is None
    thinking.save(tmp_path)
    assert load_calibration(tmp_path) == plain
    assert load_calibration(tmp_path, thinking=True) == thinking
    (tmp_path / FILE_NAME).write_bytes((tmp_path / THINKING_FILE_NAME).read_bytes())
    with pytest.raises(ArtifactError, match="answers with thoughts"):
        load_calibration(tmp_path)
