"""Embeddings to rehearse: a few of each class, for one encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes_site import draw_replay

from ruichat.errors import ArtifactError, PrerequisiteError
from ruichat.histology import KEYS
from ruichat.model.rehearsed import KIND, SCHEMA_VERSION, copy_rehearsed
from ruichat.storage.artifacts import read_checked, save_arrays
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
    assert loaded.partial.dtype == bool


def test_another_encoder_is_refused_and_a_missing_file_named(tmp_path: Path) -> None:
    path = tmp_path / "replay.safetensors"
    with pytest.raises(PrerequisiteError, match="no embeddings to rehearse"):
        load_replay(path, "a" * 64)
    save_replay(path, draw_replay(per_class=2), "a" * 64)
    with pytest.raises(ArtifactError, match="aaaaaaaa; the model reads bbbbbbbb"):
        load_replay(path, "b" * 64)


def test_groups_are_kept_apart_without_their_names(tmp_path: Path) -> None:
    bank = draw_replay(per_class=2)
    n = len(bank.group)
    named = replace(
        bank,
        group=np.array([f"P{at // 2:04}" for at in range(n)]),
        source=np.where(np.arange(n) < 6, "here", "there"),
    )
    path = tmp_path / "replay.safetensors"
    save_replay(path, named, "a" * 64)
    assert b"P000" not in path.read_bytes()
    assert load_replay(path, "a" * 64).group.tolist() == [str(at // 2) for at in range(n)]


def test_a_file_with_names_is_copied_without_them(tmp_path: Path) -> None:
    path, copy = tmp_path / "replay.safetensors", tmp_path / "copy.safetensors"
    save_replay(path, draw_replay(per_class=2), "a" * 64)
    artifact = read_checked(path, kind=KIND, schema_version=SCHEMA_VERSION)
    named = [f"P{at:04}" for at in range(len(artifact.manifest.details["group"]))]
    details = artifact.manifest.details | {"group": named}
    manifest = artifact.manifest.model_copy(update={"details": details})
    save_arrays(path, artifact.arrays, manifest)
    copy_rehearsed(path, copy)
    assert b"P0001" in path.read_bytes() and b"P0001" not in copy.read_bytes()
    before, after = (load_replay(one, "a" * 64) for one in (path, copy))
    np.testing.assert_array_equal(before.embeddings, after.embeddings)
