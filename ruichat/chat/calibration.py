"""Calibrated confidence per kind of question, and the diagnosis class it allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, ValidationError

from ruichat.chat.answer import DiagnosisClass
from ruichat.config import Config
from ruichat.errors import ArtifactError, InputError

FILE_NAME = "calibration.json"
"""Where a checkpoint folder keeps its calibration."""

THINKING_FILE_NAME = "calibration-thinking.json"
"""Where it keeps that of answers that were thought about first."""

MIN_RECORDS = 40
"""A kind with fewer held-out answers shares the calibration of all kinds."""

PRIOR_RECORDS = 20.0
"""How many records the calibration of all kinds weighs against those of one kind."""

_LOGIT_LIMIT = 6.0
_NUM_STEPS = 2000


@dataclass(frozen=True, slots=True)
class AnswerSignal:
    """What speaks for an answer, each a probability (0-1); higher never means less sure.

    Attributes:
        decision: of its weakest deciding words (yes, no, a class, a side).
        wording: geometric mean over its deciding words.
        pointing: geometric mean over the region names it writes; 1 without any.
        support: agreement with the tile classifier's own measurement; one half where it has none.
    """

    decision: float
    wording: float
    pointing: float
    support: float

    def logits(self) -> Float64[NDArray[np.float64], " s"]:
        """The four as log-odds, bounded, [4]."""
        values = np.array([self.decision, self.wording, self.pointing, self.support], np.float64)
        if not np.all((values >= 0) & (values <= 1)):
            raise InputError(f"answer signal {values.tolist()} lies outside 0 to 1")
        edge = 1 / (1 + math.exp(_LOGIT_LIMIT))
        clipped = np.clip(values, edge, 1 - edge)
        return np.log(clipped / (1 - clipped))


NUM_SIGNALS = 4

_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """One held-out answer: its kind by `question_kind`, its signal, and whether it was right."""

    kind: str
    signal: AnswerSignal
    correct: bool


class KindCalibration(Config):
    """A logistic model from signal to the probability of being right."""

    bias: FiniteFloat
    weights: tuple[_Weight, ...] = Field(min_length=NUM_SIGNALS, max_length=NUM_SIGNALS)
    """Per signal, in log-odds per log-odds; none is negative, so confidence is monotone."""
    num_records: int = Field(default=0, ge=0)
    """Held-out answers it was fitted on."""

    def confidence(self, signal: AnswerSignal) -> float:
        """Probability (0-1) that the answer is right."""
        score = self.bias + float(np.dot(self.weights, signal.logits()))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


class Thresholds(Config):
    """From which confidence on an answer is stated, qualified, or only descriptive.

    Ours: confidence is calibrated, so the thresholds are the error rates a reader may expect.
    """

    definite: float = Field(default=0.90, ge=0, le=1)
    """Class I from here on: at most one in ten wrong."""
    qualified: float = Field(default=0.75, ge=0, le=1)
    """Class II, "favour": at most one in four wrong."""
    descriptive: float = Field(default=0.60, ge=0, le=1)
    """Class III, description only; below it the answer is "cannot determine", class IV."""


class Calibration(Config):
    """What a checkpoint knows about its own reliability; kept in its `calibration.json`.

    Answers with a thought before them are other answers: they have a calibration of their own.
    """

    schema_version: int = Field(default=1, ge=1, le=1)
    default: KindCalibration
    """For kinds without an entry of their own."""
    kinds: dict[str, KindCalibration] = {}
    thresholds: Thresholds = Thresholds()
    known_fraction: float = Field(default=0.5, ge=0, le=1)
    """A slide with a smaller share of familiar tiles is unknown tissue."""
    thinking: bool = False
    """Whether it was made of answers that were thought about first."""

    def confidence(self, kind: str, signal: AnswerSignal) -> float:
        """Probability (0-1) that an answer of that kind is right."""
        return self.kinds.get(kind, self.default).confidence(signal)

    def diagnosis_class(self, confidence: float) -> DiagnosisClass:
        """The class of statement that confidence allows."""
        limits = self.thresholds
        if confidence >= limits.definite:
            return "I"
        if confidence >= limits.qualified:
            return "II"
        return "III" if confidence >= limits.descriptive else "IV"

    def save(self, folder: Path) -> Path:
        """Write it into a checkpoint folder; returns its path."""
        from ruichat.storage.artifacts import write_atomic

        path = folder / (THINKING_FILE_NAME if self.thinking else FILE_NAME)
        write_atomic(path, (self.model_dump_json(indent=1) + "\n").encode())
        return path


def load_calibration(folder: Path, *, thinking: bool = False) -> Calibration | None:
    """The calibration of a checkpoint folder, None if it carries none.

    Args:
        folder: of the checkpoint.
        thinking: that of answers that are thought about first.

    Raises:
        ArtifactError: the file is there but can't be read, or was made of other answers.
    """
    path = folder / (THINKING_FILE_NAME if thinking else FILE_NAME)
    if not path.is_file():
        return None
    hint = "Restore the checkpoint folder, or run the calibrate stage again"
    try:
        found = Calibration.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ArtifactError(
            f"{path} is not a calibration ({error.error_count()} wrong fields)", hint=hint
        ) from error
    if found.thinking != thinking:
        made = "with" if found.thinking else "without"
        raise ArtifactError(f"{path} was made of answers {made} thoughts", hint=hint)
    return found


def fit_calibration(
    records: Sequence[CalibrationRecord],
    *,
    known_fractions: Sequence[float] = (),
    thresholds: Thresholds | None = None,
    thinking: bool = False,
) -> Calibration:
    """Fit confidence on held-out answers.

    Args:
        records: answers to slides that no training stage has seen, right and wrong ones.
        known_fractions: `known_fraction` of held-out slides of known tissue; the threshold is
            set so that 99 in 100 of them pass.
        thresholds: where the diagnosis classes begin.
        thinking: the answers were thought about first.

    Raises:
        InputError: fewer than `MIN_RECORDS` records.

    Source:
        Platt 1999 (targets smoothed by class counts) over four signals instead of one. Ours:
        weights are kept non-negative, and a kind is shrunk towards all kinds.
    """
    if len(records) < MIN_RECORDS:
        raise InputError(f"{len(records)} records; calibration needs at least {MIN_RECORDS}")
    flat = np.zeros(1 + NUM_SIGNALS)
    pooled = _fit(records, prior=flat, strength=1.0)
    by_kind: dict[str, list[CalibrationRecord]] = {}
    for record in records:
        by_kind.setdefault(record.kind, []).append(record)
    kinds = {
        kind: _as_config(_fit(own, prior=pooled, strength=PRIOR_RECORDS / 4), len(own))
        for kind, own in sorted(by_kind.items())
        if len(own) >= MIN_RECORDS
    }
    known = float(np.quantile(known_fractions, 0.01)) if known_fractions else 0.5
    return Calibration(
        default=_as_config(pooled, len(records)),
        kinds=kinds,
        thresholds=thresholds or Thresholds(),
        known_fraction=round(known, 4),
        thinking=thinking,
    )


def calibration_error(
    confidence: Iterable[float], correct: Iterable[bool], *, num_bins: int = 10
) -> float:
    """Expected calibration error (0-1) over equally wide bins; 0 for no answers.

    Source:
        Guo et al. 2017, arXiv:1706.04599.
    """
    sure = np.fromiter(confidence, np.float64)
    right = np.fromiter(correct, np.float64)
    if len(sure) == 0:
        return 0.0
    bins = np.minimum((sure * num_bins).astype(int), num_bins - 1)
    gap = np.bincount(bins, right - sure, minlength=num_bins)
    return float(np.abs(gap).sum() / len(sure))


def _fit(
    records: Sequence[CalibrationRecord],
    *,
    prior: Float64[NDArray[np.float64], " p"],
    strength: float,
) -> Float64[NDArray[np.float64], " p"]:
    """Logistic regression with non-negative weights, [1 + signals], bias first.

    Projected gradient with the step that the curvature allows; the quadratic penalty pulls
    towards `prior` as 4 * `strength` records would, each of which curves the loss by a quarter
    at most.
    """
    signals = np.stack([record.signal.logits() for record in records])
    design = np.concatenate([np.ones((len(records), 1)), signals], axis=1)
    num_right = sum(record.correct for record in records)
    num_wrong = len(records) - num_right
    # Platt's targets: never quite 0 or 1, so that separable records don't run to infinity.
    targets = np.where(
        [record.correct for record in records],
        (num_right + 1) / (num_right + 2),
        1 / (num_wrong + 2),
    )
    curvature = float(np.linalg.eigvalsh(design.T @ design / 4)[-1]) + strength
    theta = moved = prior.copy()
    for step in range(1, _NUM_STEPS + 1):
        predicted = 1 / (1 + np.exp(-design @ moved))
        gradient = design.T @ (predicted - targets) + strength * (moved - prior)
        following = moved - gradient / curvature
        following[1:] = np.maximum(following[1:], 0)
        moved = following + (step - 1) / (step + 2) * (following - theta)
        theta = following
    return theta


def _as_config(theta: Float64[NDArray[np.float64], " p"], num_records: int) -> KindCalibration:
    rounded = [round(float(value), 6) for value in theta]
    return KindCalibration(bias=rounded[0], weights=tuple(rounded[1:]), num_records=num_records)
