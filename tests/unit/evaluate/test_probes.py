from __future__ import annotations

import numpy as np
import pytest

from ruichat.evaluate.metrics import balanced_accuracy
from ruichat.evaluate.probes import outer_folds, probe
from ruichat.truth.holding_out import split_runs

pytest.importorskip("sklearn")


def test_probe_finds_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 60)
    label = np.array(["x", "y", "z"])[truth]
    group = np.array([f"{t}-{i // 6}" for i, t in enumerate(truth)])
    noise = rng.standard_normal((180, 8)).astype(np.float32)
    telling = noise.copy()
    telling[:, :3] += 4 * np.eye(3, dtype=np.float32)[truth]
    folds = outer_folds("folds", label, group, np.arange(180))
    scores = [
        balanced_accuracy(truth, probe(features, label, group, folds, (0.01, 1.0)))
        for features in (telling, noise)
    ]
    assert scores[0] > 0.97
    assert 0.2 < scores[1] < 0.5


def test_probe_marks_what_it_was_not_asked() -> None:
    label = np.array(["a", "b"] * 20)
    group = np.arange(40).astype(np.str_)
    fold = split_runs(label, np.arange(40), 0.25)
    features = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    guess = probe(features, label, group, [fold], (1.0,))
    assert (guess[fold.train] == -1).all() and (guess[fold.test] >= 0).all()
    assert len(fold.test) == 10
