"""Embeddings to rehearse: a few of each class, for one encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes_site import draw_replay

from ruichat.errors import ArtifactError, PrerequisiteError
from ruichat.histology import KEYS
from ruichat.truth.replay import load_replay, sample_bank, save_replay


def test_a_sample_holds_so_many_of_each_class_and_split() -> None:
    bank = draw_replay(per_class=20)
    sample = sample_bank(bank, {"train": 4, "val": 3}, seed=0)
    main = sample.target.argmax(1)
    for c in range(len(KEYS)):
        assert (main[sample.split == "train"] == c).sum() == 4
        assert (main[sample.split == "val"] == c).sum() == 3
    again = sample_bank(bank, {"train": 4, "val": 3}, seed=0)
    np.testing.assert_array_equal(sample.embeddings, again.embeddings)


def test_windows_of_uncertain_class_are_left_out() -> None:
    bank = draw_replay(per_class=4)
    mixed = np.full_like(bank.target, 1 / len(KEYS))
    assert len(sample_bank(replace(bank, target=mixed), {"train": 4}, 0).target) == 0
    partial = replace(bank, partial=np.ones(len(bank.target), bool))
    assert len(sample_bank(partial, {"train": 4}, 0).target) == 0


def test_what_is_written_is_read_again_at_half_precision(tmp_path: Path) -> None:
    bank = draw_replay()
    save_replay(tmp_path / "replay.safetensors", bank, "a" * 64)
    loaded = load_replay(tmp_path / "replay.safetensors", "a" * 64)
    np.testing.assert_allclose(loaded.embeddings, bank.embeddings, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(loaded.target, bank.target)
    assert loaded.split.tolist() == bank.split.tolist()
    assert loaded.group.tolist() == bank.group.tolist()
    assert loaded.partial.dtype == bool


def test_another_encoder_is_refused_and_a_missing_file_named(tmp_path: Path) -> None:
    path = tmp_path / "replay.safetensors"
    with pytest.raises(PrerequisiteError, match="no embeddings to rehearse"):
        load_replay(path, "a" * 64)
    save_replay(path, draw_replay(per_class=2), "a" * 64)
    with pytest.raises(ArtifactError, match="aaaaaaaa; the model reads bbbbbbbb"):
        load_replay(path, "b" * 64)
