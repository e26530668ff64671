"""Means with their intervals: 95 %, by percentile bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean and where 95 % of its resamples lie."""

    mean: float
    low: float
    high: float


def interval_of(values: NDArray[np.float64], group: NDArray[np.int64] | None = None) -> Interval:
    """Mean of values, resampling whole groups: what belongs together is drawn together.

    Args:
        values: [n] one for each question.
        group: [n] such as the number of its slide; each value is a group of its own if missing.
    """
    group = np.arange(len(values), dtype=np.int64) if group is None else group
    sums, counts = np.bincount(group, values), np.bincount(group)
    rows = np.random.default_rng(0).integers(len(sums), size=(NUM_RESAMPLES, len(sums)))
    means = sums[rows].sum(1) / np.maximum(counts[rows].sum(1), 1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(values.mean()), float(low), float(high))
