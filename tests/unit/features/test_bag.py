"""Bags refuse what can't be right, what is damaged, and what another encoder made."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.errors import ArtifactError
from ruichat.features.bag import SCHEMA_VERSION, FeatureBag, check_bag, save_bag
from ruichat.storage.artifacts import Manifest, save_arrays
from ruichat.storage.hdf5 import Column, save_table

ARRAYS = ("embeddings", "xy0", "focus", "hematoxylin", "eosin")


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


def assert_same(read: FeatureBag, bag: FeatureBag) -> None:
    for item in fields(bag):
        want, got = getattr(bag, item.name), getattr(read, item.name)
        assert np.array_equal(want, got) if isinstance(want, np.ndarray) else want == got


def test_a_bag_survives_the_disk(tmp_path: Path) -> None:
    bag = make_bag()
    bag.save(tmp_path / "a.h5")
    read = FeatureBag.load(tmp_path / "a.h5")
    assert_same(read, bag)
    assert check_bag(tmp_path / "a.h5") == bag.facts
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
    path = tmp_path / "a.h5"
    make_bag().save(path)
    data = bytearray(path.read_bytes())
    place = data.index(make_bag().embeddings.tobytes())
    data[place + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="digest doesn't match"):
        FeatureBag.load(path)
    with pytest.raises(ArtifactError, match="digest doesn't match"):
        check_bag(path)


def test_no_changed_byte_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    make_bag().save(path)
    whole = path.read_bytes()
    for i in range(0, len(whole), 41):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x11]) + whole[i + 1 :])
        with contextlib.suppress(ArtifactError):
            assert_same(FeatureBag.load(path), make_bag())  # a byte that nothing hangs on


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_torn_bag_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    make_bag().save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    for read in (FeatureBag.load, check_bag):
        with pytest.raises(ArtifactError, match="damaged") as caught:
            read(path)
        assert "make it again" in caught.value.hint


def test_a_bag_of_an_earlier_version_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"xy0": np.zeros((1, 2))}, Manifest(schema_version=2, kind="feature-bag"))
    with pytest.raises(ArtifactError, match="isn't HDF5") as caught:
        FeatureBag.load(path)
    assert "make it again" in caught.value.hint


def test_others_find_what_they_look_for(tmp_path: Path) -> None:
    """TRIDENT's layout: what its readers and those of TITAN and ABMIL open."""
    bag = replace(make_bag(), tile_px=112)
    bag.save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["features"], bag.embeddings)
        assert file["features"].attrs["encoder"] == "uni2"
        assert file["coords"].dtype == np.int64 and np.array_equal(file["coords"], bag.xy0)
        attributes = dict(file["coords"].attrs)
    assert attributes.pop("name") == bag.slide_digest[:12]
    assert attributes == {
        "patch_size": 112,
        "patch_size_level0": 224,
        "level0_magnification": 20,
        "target_magnification": 10,
        "overlap": 0,
        "level0_width": 2000,
        "level0_height": 3000,
    }


def test_attributes_that_contradict_the_manifest_are_noticed(tmp_path: Path) -> None:
    make_bag().save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["coords"].attrs["patch_size_level0"] = 512
    with pytest.raises(ArtifactError, match="attributes of coords"):
        FeatureBag.load(tmp_path / "a.h5")


@settings(max_examples=12)
@given(cuts=st.lists(st.integers(0, 50), max_size=4))
def test_bytes_do_not_hang_on_how_a_bag_was_written(cuts: list[int]) -> None:
    bag = make_bag(num=50)
    arrays = {name: getattr(bag, name) for name in ARRAYS}
    edges = sorted({0, 50, *cuts})
    blocks = [{k: v[a:b] for k, v in arrays.items()} for a, b in pairwise(edges)]
    with tempfile.TemporaryDirectory() as folder:
        bag.save(Path(folder) / "whole.h5")
        save_bag(Path(folder) / "pieces.h5", bag.facts, blocks)
        contents = {path.read_bytes() for path in Path(folder).iterdir()}
    assert len(contents) == 1


def test_a_bag_that_lacks_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    column = Column((1, 2), np.float32)
    manifest = Manifest(schema_version=SCHEMA_VERSION, kind="feature-bag")
    save_table(path, {"coords": column}, [{"coords": np.zeros((1, 2), np.float32)}], manifest)
    with pytest.raises(ArtifactError, match="lacks parts"):
        FeatureBag.load(path)
