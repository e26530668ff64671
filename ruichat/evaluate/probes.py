"""Linear probes: what a linear model reads off features, on groups it wasn't fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.evaluate.config import SplitRule
from ruichat.registry import require
from ruichat.truth.holding_out import Fold, Rows, group_folds, run_folds
from ruichat.truth.tile_folders import Strings

INNER_FOLDS = 3
OUTER_FOLDS = 5
_MAX_ITERATIONS = 300


def outer_folds(
    rule: SplitRule, label: Strings, group: Strings, number: NDArray[np.int64]
) -> list[Fold]:
    """Five folds by that rule; "groups" and "folds" both keep groups together."""
    if rule == "runs":
        return run_folds(label, number, OUTER_FOLDS)
    return group_folds(label, group, OUTER_FOLDS)


def probe(
    features: Float32[NDArray[np.float32], "n f"],
    label: Strings,
    group: Strings,
    folds: Sequence[Fold],
    strengths: Sequence[float],
) -> Int64[NDArray[np.int64], " n"]:
    """Index of the class (in `np.unique(label)`) guessed for every tile of a test part.

    Multinomial logistic regression on standardised features, classes weighted alike. Its penalty
    is chosen by folds within each training part, so no test tile takes part in the choice.

    Args:
        features: of all tiles.
        label: of all tiles.
        group: source groups, kept together in the inner folds.
        folds: what to fit on and what to test on.
        strengths: values of C to choose from.

    Returns:
        The guess, -1 for tiles that are in no test part.
    """
    _, truth = np.unique(label, return_inverse=True)
    guess = np.full(len(label), -1, np.int64)
    for fold in folds:
        inner = _inner_folds(label[fold.train], group[fold.train])
        best = max(
            strengths,
            key=lambda c: _inner_score(features[fold.train], truth[fold.train], inner, c),
        )
        guess[fold.test] = _fit_predict(features, truth, fold, best)
    return guess


def _inner_folds(label: Strings, group: Strings) -> list[Fold]:
    try:
        return group_folds(label, group, INNER_FOLDS)
    except InputError:
        # One group to a class leaves only single tiles to deal out.
        return group_folds(label, np.arange(len(label)).astype(np.str_), INNER_FOLDS)


def _inner_score(
    features: NDArray[np.float32], truth: Rows, folds: Sequence[Fold], strength: float
) -> float:
    from ruichat.evaluate.metrics import balanced_accuracy

    guess = np.full(len(truth), -1, np.int64)
    for fold in folds:
        guess[fold.test] = _fit_predict(features, truth, fold, strength)
    return balanced_accuracy(truth, guess)


def _fit_predict(
    features: NDArray[np.float32], truth: Rows, fold: Fold, strength: float
) -> NDArray[np.int64]:
    mean, std = features[fold.train].mean(0), features[fold.train].std(0) + 1e-6
    model = fit_logistic((features[fold.train] - mean) / std, truth[fold.train], strength)
    return model.predict((features[fold.test] - mean) / std)


def fit_logistic(features: NDArray[np.float32], truth: Rows, strength: float) -> Any:
    """scikit-learn's logistic regression, classes weighted alike.

    Raises:
        PrerequisiteError: scikit-learn isn't installed.
    """
    import warnings

    linear: Any = require("sklearn.linear_model", extra="align")
    model = linear.LogisticRegression(C=strength, class_weight="balanced", max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings():
        # A fit that stops early is a fit; the inner folds judge it like any other.
        warnings.simplefilter("ignore")
        return model.fit(features, truth)
