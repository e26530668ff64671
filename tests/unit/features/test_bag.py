"""Bags refuse what can't be right, what is damaged, and what another encoder made."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ruichat.errors import ArtifactError
from ruichat.features.bag import SCHEMA_VERSION, FeatureBag
from ruichat.storage.artifacts import Manifest, save_arrays


def make_bag(num: int = 5, dim: int = 8) -> FeatureBag:
    rng = np.random.default_rng(0)
    return FeatureBag(
        embeddings=rng.random((num, dim), np.float32),
        xy0=np.arange(2 * num, dtype=np.int64).reshape(num, 2),
        span0=224,
        base_mpp=0.5,
        size0=(2000, 3000),
        focus=rng.random(num, np.float32),
        hematoxylin=rng.random(num, np.float32),
        eosin=rng.random(num, np.float32),
        tissue_area_mm2=1.5,
        he_share=0.75,
        encoder="uni2",
        encoder_digest="a" * 64,
        slide_digest="3f9a" * 16,
        fingerprint="b" * 16,
        warnings=("stain is odd", "μm"),
    )


def test_a_bag_survives_the_disk(tmp_path: Path) -> None:
    bag = make_bag()
    bag.save(tmp_path / "a.safetensors")
    read = FeatureBag.load(tmp_path / "a.safetensors")
    for item in fields(bag):
        want, got = getattr(bag, item.name), getattr(read, item.name)
        assert np.array_equal(want, got) if isinstance(want, np.ndarray) else want == got
    assert len(read) == 5 and read.dim == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"embeddings": np.zeros((4, 8), np.float32)}, "embeddings"),
        ({"embeddings": np.zeros((5, 8), np.float64)}, "float64"),
        ({"xy0": np.zeros((5, 2), np.int32)}, "xy0"),
        ({"focus": np.zeros(4, np.float32)}, "focus"),
        ({"span0": 0}, "positive"),
        ({"base_mpp": -1.0}, "positive"),
        ({"embeddings": np.full((5, 8), np.nan, np.float32)}, "not finite"),
    ],
)
def test_a_bag_that_cannot_be_right_is_refused(change: dict[str, Any], words: str) -> None:
    bag = object.__new__(FeatureBag)  # past the suite's own check of shapes, as in production
    for name, value in (vars(make_bag()) | change).items():
        object.__setattr__(bag, name, value)
    with pytest.raises(ArtifactError, match=words):
        bag.__post_init__()


@pytest.mark.parametrize(
    ("name", "digest", "dim"),
    [("conch15", "a" * 64, 8), ("uni2", "c" * 64, 8), ("uni2", "a" * 64, 768)],
)
def test_another_encoders_bag_is_refused_naming_both(name: str, digest: str, dim: int) -> None:
    with pytest.raises(ArtifactError) as caught:
        make_bag().check_encoder(name, digest, dim)
    assert "'uni2' (d=8, weights aaaaaaaa)" in caught.value.message
    assert f"'{name}' (d={dim}, weights {digest[:8]})" in caught.value.message
    assert f"encoder {name}" in caught.value.hint


def test_the_same_encoder_is_accepted() -> None:
    bag = make_bag()
    assert bag.check_encoder("uni2", "a" * 64, 8) is bag


def test_a_damaged_bag_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    make_bag().save(path)
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="digest doesn't match"):
        FeatureBag.load(path)


def test_a_bag_that_lacks_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(
        path, {"xy0": np.zeros((1, 2))}, Manifest(schema_version=SCHEMA_VERSION, kind="feature-bag")
    )
    with pytest.raises(ArtifactError, match="lacks parts"):
        FeatureBag.load(path)
