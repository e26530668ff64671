from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.errors import InputError
from ruichat.truth.holding_out import group_folds, run_folds, split_groups, split_runs


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), min_size=4, max_size=60))
def test_groups_never_lie_on_both_sides(pairs: list[tuple[str, int]]) -> None:
    label = np.array([name for name, _ in pairs])
    group = np.array([f"{name}{number}" for name, number in pairs])
    try:
        folds = group_folds(label, group, 5)
    except InputError:
        assert min(len(set(group[label == name])) for name in set(label)) < 2
        return
    tested = np.sort(np.concatenate([fold.test for fold in folds]))
    assert tested.tolist() == list(range(len(label)))
    for fold in folds:
        assert not set(group[fold.train]) & set(group[fold.test])
        assert set(label[fold.train]) == set(label)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_whole_groups_are_held_out_by_their_share(share: float) -> None:
    label = np.repeat(["a", "b"], 60)
    group = np.array([f"{name}{number // 3}" for name in "ab" for number in range(60)])
    fold = split_groups(label, group, share)
    assert not set(group[fold.train]) & set(group[fold.test])
    for name in "ab":
        held = len(set(group[fold.test][label[fold.test] == name]))
        assert abs(held - 20 * share) <= 1


def test_runs_are_the_last_files_of_each_class() -> None:
    label = np.array(["a"] * 10 + ["b"] * 20)
    number = np.concatenate([np.arange(10)[::-1], np.arange(20)])
    fold = split_runs(label, number, 0.3)
    assert sorted(number[fold.test][label[fold.test] == "a"]) == [7, 8, 9]
    assert number[fold.test][label[fold.test] == "b"].min() == 14
    assert len(np.intersect1d(fold.train, fold.test)) == 0
    folds = run_folds(label, number, 5)
    assert all(np.ptp(number[f.test][label[f.test] == "b"]) == 3 for f in folds)


def test_windows_of_one_file_stay_together() -> None:
    label = np.repeat(["a", "b"], 15)
    number = np.tile(np.repeat(np.arange(5), 3), 2)
    file = np.char.add(label, number.astype(np.str_))
    for fold in (split_runs(label, number, 0.3), *run_folds(label, number, 4)):
        assert not set(file[fold.train]) & set(file[fold.test])
        assert set(label[fold.train]) == set(label[fold.test]) == {"a", "b"}
    with pytest.raises(InputError, match=r"two files each; there are \[1, 1\]"):
        split_runs(label, np.zeros(30, np.int64), 0.3)
