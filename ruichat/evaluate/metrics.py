"""Scores with bootstrap intervals: every one is a function of how often each unit is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike, NDArray

Weights = NDArray[np.float64]
Statistic = Callable[[Weights], float]
OfSums = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""A score of sums over observations, [..., m] to [...]."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with its 95 % interval.

    Attributes:
        value: on the data as they are; NaN where it isn't defined.
        low: lower end of the interval.
        high: upper end.
        n: answers, tiles or citations that it rests on.
    """

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        """Plain numbers, four places; None where a score isn't defined."""
        values = {"value": self.value, "low": self.low, "high": self.high}
        plain = {k: None if math.isnan(v) else round(v, 4) for k, v in values.items()}
        return {**plain, "n": self.n}


@dataclass(frozen=True, slots=True)
class Contrast:
    """One score minus another on the same observations.

    Attributes:
        difference: with its interval.
        p: how probable a difference at least as large is where there is none, two-sided; NaN
            where nothing can be said.
    """

    difference: Estimate
    p: float

    def to_json(self) -> dict[str, float | int | None]:
        """Plain numbers."""
        p = None if math.isnan(self.p) else round(self.p, 4)
        return {**self.difference.to_json(), "p": p}


class Bootstrap:
    """Draws units (slides, source groups) with replacement, the same draws for every score.

    Args:
        unit: which unit each observation belongs to, any labels, [n].
        num_draws: bootstrap samples.
        seed: of the draws.

    Source:
        Percentile interval over clusters, Efron and Tibshirani 1993. Observations of one slide
        or one source group depend on each other, so they are drawn together.
    """

    def __init__(self, unit: NDArray[Any], *, num_draws: int, seed: int) -> None:
        _, self._row = np.unique(unit, return_inverse=True)
        self.num_units = int(self._row.max()) + 1 if len(unit) else 0
        rng = np.random.default_rng(seed)
        share = np.full(self.num_units, 1 / max(self.num_units, 1))
        self._draws = rng.multinomial(self.num_units, share, size=num_draws)

    def ratio(self, part: NDArray[Any], whole: NDArray[Any] | None = None) -> Estimate:
        """Sum of `part` over sum of `whole` (one per observation unless given), [n] each."""
        part = np.asarray(part, np.float64)
        whole = np.ones(len(part)) if whole is None else np.asarray(whole, np.float64)
        top, bottom = self._sums(part), self._sums(whole)
        value = float(_divide(part.sum(), whole.sum()))
        drawn = _divide(self._draws @ top, self._draws @ bottom)
        return _estimate(value, drawn, int(whole.sum()))

    def difference(
        self,
        part: NDArray[Any],
        whole: NDArray[Any],
        other_part: NDArray[Any],
        other_whole: NDArray[Any],
    ) -> Estimate:
        """One ratio minus another over the same draws, [n] each."""
        sums = [
            self._sums(np.asarray(x, np.float64)) for x in (part, whole, other_part, other_whole)
        ]
        a, b, c, d = (self._draws @ x for x in sums)
        ratio = [float(_divide(x.sum(), y.sum())) for x, y in (sums[:2], sums[2:])]
        drawn = _divide(a, b) - _divide(c, d)
        return _estimate(ratio[0] - ratio[1], drawn, int(np.asarray(whole).sum()))

    def of_sums(self, columns: NDArray[Any], function: OfSums, n: int) -> Estimate:
        """A score that is a function of column sums, [n,m], such as corpus BLEU.

        Args:
            columns: what each observation adds to the sums.
            function: of the sums.
            n: answers that the score rests on.
        """
        value, drawn = self._of_sums(columns, function)
        return _estimate(value, drawn, n)

    def contrast(
        self, columns: NDArray[Any], other: NDArray[Any], function: OfSums, n: int
    ) -> Contrast:
        """A score minus the same score of other answers, over the same draws, [n,m] each.

        Source:
            Paired bootstrap, Koehn 2004; the p-value is twice the share of draws on the other
            side of none, each side counted once more than it was drawn.
        """
        (one, ones), (two, twos) = (self._of_sums(c, function) for c in (columns, other))
        drawn = ones - twos
        usable = drawn[np.isfinite(drawn)]
        difference = _estimate(one - two, drawn, n)
        if not len(usable) or not math.isfinite(one - two):
            return Contrast(difference, math.nan)
        side = min(int((usable <= 0).sum()), int((usable >= 0).sum()))
        return Contrast(difference, min(1.0, 2 * (side + 1) / (len(usable) + 1)))

    def _of_sums(
        self, columns: NDArray[Any], function: OfSums
    ) -> tuple[float, NDArray[np.float64]]:
        columns = np.asarray(columns, np.float64)
        by_unit = np.zeros((self.num_units, columns.shape[1]))
        np.add.at(by_unit, self._row, columns)
        return float(function(by_unit.sum(0))), function(self._draws @ by_unit)

    def statistic(self, function: Statistic) -> Estimate:
        """Any function of how often each observation is drawn, [n] to a number."""
        n = len(self._row)
        value = function(np.ones(n))
        drawn = np.array([function(draw[self._row].astype(np.float64)) for draw in self._draws])
        return _estimate(value, drawn, n)

    def _sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(self._row, values, minlength=self.num_units).astype(np.float64)


def _divide(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(part, whole), np.float64)


def _estimate(value: float, drawn: NDArray[np.float64], n: int) -> Estimate:
    usable = drawn[np.isfinite(drawn)]
    if not math.isfinite(value) or len(usable) == 0:
        return Estimate(value if math.isfinite(value) else math.nan, math.nan, math.nan, n)
    low, high = np.quantile(usable, (0.025, 0.975))
    return Estimate(value, float(low), float(high), n)


def balanced_accuracy(
    truth: Int64[NDArray[np.int64], " n"],
    guess: Int64[NDArray[np.int64], " n"],
    weight: Weights | None = None,
) -> float:
    """Mean over the true classes of the share that is recognised; NaN without observations."""
    weight = np.ones(len(truth)) if weight is None else weight
    num = int(max(truth.max(initial=0), guess.max(initial=0))) + 1
    total = np.bincount(truth, weight, minlength=num)
    right = np.bincount(truth, weight * (truth == guess), minlength=num)
    seen = total > 0
    return float((right[seen] / total[seen]).mean()) if seen.any() else math.nan


def calibration_gap(
    confidence: Float64[NDArray[np.float64], " n"],
    correct: Bool[NDArray[np.bool_], " n"],
    weight: Weights | None = None,
    *,
    num_bins: int = 10,
) -> float:
    """Expected calibration error over equally wide bins, 0 to 1; NaN without observations.

    Source:
        Guo et al. 2017, arXiv:1706.04599.
    """
    weight = np.ones(len(confidence)) if weight is None else weight
    if weight.sum() == 0:
        return math.nan
    bins = np.minimum((confidence * num_bins).astype(np.int64), num_bins - 1)
    gap = np.bincount(bins, weight * (correct - confidence), minlength=num_bins)
    return float(np.abs(gap).sum() / weight.sum())


def accuracy_at_coverage(
    confidence: Float64[NDArray[np.float64], " n"],
    correct: Bool[NDArray[np.bool_], " n"],
    coverage: float,
    weight: Weights | None = None,
) -> float:
    """Accuracy of the most confident share of the answers; ties are shared out evenly.

    Args:
        confidence: of each answer.
        correct: whether it is right.
        coverage: share of answers kept, above 0 and up to 1.
        weight: how often each answer counts.
    """
    weight = np.ones(len(confidence)) if weight is None else weight
    if weight.sum() == 0:
        return math.nan
    # Equal confidences form one step, of which any part is as accurate as the whole.
    level, row = np.unique(-confidence, return_inverse=True)
    mass = np.bincount(row, weight, minlength=len(level))
    right = np.bincount(row, weight * correct, minlength=len(level))
    kept = np.clip(coverage * weight.sum() - (np.cumsum(mass) - mass), 0, mass)
    share = np.divide(kept, mass, out=np.zeros_like(kept), where=mass > 0)
    return float((share * right).sum() / kept.sum())


def area_under_roc(
    score: Float64[NDArray[np.float64], " n"],
    positive: Bool[NDArray[np.bool_], " n"],
    weight: Weights | None = None,
) -> float:
    """Probability that a positive scores higher than a negative, ties counting half.

    NaN where one of both is missing.
    """
    weight = np.ones(len(score)) if weight is None else weight
    level, row = np.unique(score, return_inverse=True)
    above = np.bincount(row, weight * positive, minlength=len(level))
    below = np.bincount(row, weight * ~positive, minlength=len(level))
    if above.sum() == 0 or below.sum() == 0:
        return math.nan
    beaten = np.cumsum(below) - below / 2
    return float((above * beaten).sum() / (above.sum() * below.sum()))
