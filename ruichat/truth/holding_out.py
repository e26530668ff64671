"""Which tiles are kept out of fitting, so that what is tested was never seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.truth.tile_folders import Strings

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
    names, row, content = _content(label, group)
    per_class = (content > 0).sum(0)
    num = min(num, int(per_class.min(initial=num)))
    fold_of, dealt = _deal(names, content, np.ones(max(num, 1)))
    if num < 2 or ((per_class - dealt) < 1).any():
        raise InputError(
            "a class comes from too few source groups for folds that hold groups out",
            hint="Add tiles of other groups, or leave that class out",
        )
    return _folds(fold_of[row], num)


def split_groups(label: Strings, group: Strings, test_fraction: float) -> Fold:
    """Whole groups are the test part: about that share of every class's groups, at least one."""
    names, row, content = _content(label, group)
    side, _ = _deal(names, content, np.array([test_fraction, 1 - test_fraction]))
    return _folds(side[row], 1)[0]


def _content(label: Strings, group: Strings) -> tuple[Strings, Rows, Rows]:
    """Names of the groups, the group of each tile, and tiles of each class in each group."""
    names, row = np.unique(group, return_inverse=True)
    classes, column = np.unique(label, return_inverse=True)
    content = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(content, (row, column), 1)
    return names, row, content


def _deal(
    names: Strings, content: Rows, share: NDArray[np.float64]
) -> tuple[Rows, NDArray[np.float64]]:
    """The fold of each group, each fold by its share, and groups of each class in each fold."""
    per_class = (content > 0).sum(0)
    fold_of = np.zeros(len(names), np.int64)
    dealt = np.zeros((len(share), content.shape[1]))
    # The classes with fewest groups are dealt first, while every fold still has room for them.
    rarest = np.array([per_class[item > 0].argmin() for item in content])
    scarce = np.array([per_class[item > 0].min() for item in content])
    for i in np.lexsort((names, scarce)):
        main = np.flatnonzero(content[i])[rarest[i]]
        fold_of[i] = np.lexsort((dealt.sum(1) / share, dealt[:, main] / share))[0]
        dealt[fold_of[i]] += content[i] > 0
    return fold_of, dealt


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
