"""Linear probes: what a linear model reads off features, on groups it wasn't fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.evaluate.arrays import Strings
from ruichat.evaluate.config import SplitRule
from ruichat.registry import require

INNER_FOLDS = 3
OUTER_FOLDS = 5
_MAX_ITERATIONS = 300

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fold:
    """Which tiles a probe is fitted on and which it is tested on."""

    train: Rows
    test: Rows


def split_runs(label: Strings, number: NDArray[np.int64], test_fraction: float) -> Fold:
    """The last files of each class, by number, are the test part.

    Neighbouring files of a site often show one specimen; a random split would test on it. Windows
    of one file stay together.
    """
    train: list[Rows] = []
    test: list[Rows] = []
    _check_classes(label, number)
    for name in np.unique(label):
        rows, rank, num_files = _by_number(label == name, number)
        last = rank >= num_files - min(max(1, round(test_fraction * num_files)), num_files - 1)
        train.append(rows[~last])
        test.append(rows[last])
    return Fold(np.concatenate(train), np.concatenate(test))


def run_folds(label: Strings, number: NDArray[np.int64], num: int) -> list[Fold]:
    """Folds of contiguous file numbers within each class; fewer where a class is small."""
    num = min(num, _check_classes(label, number))
    fold = np.empty(len(label), np.int64)
    for name in np.unique(label):
        rows, rank, num_files = _by_number(label == name, number)
        fold[rows] = rank * num // num_files
    return _folds(fold, num)


def group_folds(label: Strings, group: Strings, num: int) -> list[Fold]:
    """Folds of whole groups, dealt out so that each fold gets its share of every class.

    Raises:
        InputError: a class has too few groups to be in every training part.
    """
    names, row = np.unique(group, return_inverse=True)
    classes, column = np.unique(label, return_inverse=True)
    content = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(content, (row, column), 1)
    per_class = (content > 0).sum(0)
    num = min(num, int(per_class.min(initial=num)))
    fold_of = np.zeros(len(names), np.int64)
    dealt = np.zeros((max(num, 1), len(classes)))
    # The classes with fewest groups are dealt first, while every fold still has room for them.
    rarest = np.array([per_class[item > 0].argmin() for item in content])
    scarce = np.array([per_class[item > 0].min() for item in content])
    for i in np.lexsort((names, scarce)):
        main = np.flatnonzero(content[i])[rarest[i]]
        fold_of[i] = np.lexsort((dealt.sum(1), dealt[:, main]))[0]
        dealt[fold_of[i]] += content[i] > 0
    if num < 2 or ((per_class - dealt) < 1).any():
        raise InputError(
            "a class comes from too few source groups for folds that hold groups out",
            hint="Add tiles of other groups, or leave that class out",
        )
    return _folds(fold_of[row], num)


def _check_classes(label: Strings, number: NDArray[np.int64]) -> int:
    """Files of the smallest class.

    Raises:
        InputError: fewer than two classes, or than two files of one.
    """
    counts = [len(np.unique(number[label == name])) for name in np.unique(label)]
    if len(counts) < 2 or min(counts) < 2:
        raise InputError(
            f"a probe needs two classes with two files each; there are {counts}",
            hint="Add tiles, or leave that class out",
        )
    return min(counts)


def _folds(fold: NDArray[np.int64], num: int) -> list[Fold]:
    return [Fold(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(num)]


def _by_number(mask: NDArray[np.bool_], number: NDArray[np.int64]) -> tuple[Rows, Rows, int]:
    """Rows in the order of their files, the rank of each row's file, and how many files."""
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(number[rows], kind="stable")]
    files, rank = np.unique(number[rows], return_inverse=True)
    return rows, rank.astype(np.int64), len(files)


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
