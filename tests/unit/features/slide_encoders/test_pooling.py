"""From a bag on disk to a slide's embedding on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fakes_bags import drawn_bag
from published import slides

from ruichat.errors import ArtifactError, ConfigError, ModelError, PrerequisiteError
from ruichat.features.slide_encoders.cards import SLIDE_ENCODERS
from ruichat.features.slide_encoders.embedding import SlideEmbedding
from ruichat.features.slide_encoders.encoder import grid_cells, load_slide_encoder
from ruichat.features.slide_encoders.mil import Abmil, save_abmil
from ruichat.storage.artifacts import Manifest, save_arrays


def test_the_mean_is_the_mean_and_survives_the_disk(tmp_path: Path) -> None:
    bag = drawn_bag(40, 6)
    found = load_slide_encoder("mean").encode(bag)
    np.testing.assert_allclose(found.vector, bag.embeddings.mean(axis=0), rtol=1e-5, atol=1e-6)
    found.save(tmp_path / "a.h5")
    read = SlideEmbedding.load(tmp_path / "a.h5")
    assert np.array_equal(read.vector, found.vector)
    assert replace(read, vector=found.vector) == found
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["features"].shape == (6,) and file["features"].dtype == np.float32
        assert file["features"].attrs["encoder"] == "mean"


def test_the_mean_takes_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no weights"):
        load_slide_encoder("mean", weights=tmp_path)
    with pytest.raises(ConfigError, match="isn't on the hub"):
        load_slide_encoder("mean", download=True)


def test_an_embedding_of_another_kind_is_refused(tmp_path: Path) -> None:
    drawn_bag(4, 3).save(tmp_path / "bag.h5")
    with pytest.raises(ArtifactError, match="'feature-bag', not a 'slide-embedding'"):
        SlideEmbedding.load(tmp_path / "bag.h5")


@pytest.mark.parametrize("project", [0, 5])
def test_trained_attention_pools_bags_of_its_encoder_alone(tmp_path: Path, project: int) -> None:
    torch.manual_seed(0)
    module = Abmil(dim=7, hidden=4, project=project)
    bag = drawn_bag(30, 7)
    path = tmp_path / "abmil.safetensors"
    save_abmil(path, module, encoder="mini", encoder_digest=bag.encoder_digest)
    encoder = load_slide_encoder("abmil", weights=tmp_path)
    with torch.no_grad():
        wanted = module(torch.from_numpy(bag.embeddings), torch.zeros(30, 2, dtype=torch.long))
    np.testing.assert_allclose(encoder.encode(bag).vector, wanted.numpy(), rtol=1e-5, atol=1e-6)
    assert encoder.encode(bag).vector.shape == (project or 7,)
    with pytest.raises(ArtifactError, match=r"'plip'.*takes bags of 'mini'"):
        encoder.encode(replace(bag, encoder="plip"))
    (doubt,) = encoder.encode(replace(bag, encoder_digest="")).warnings
    assert "which weights of mini" in doubt
    with pytest.raises(ArtifactError, match=r"weights dddddddd.*weights eeeeeeee"):
        encoder.encode(replace(bag, encoder_digest="d" * 64))


def test_attention_without_weights_says_how_to_have_some() -> None:
    with pytest.raises(PrerequisiteError, match="no published weights") as caught:
        load_slide_encoder("abmil")
    assert "--weights" in caught.value.hint


def test_weights_of_attention_must_fit_and_name_their_encoder(tmp_path: Path) -> None:
    path = tmp_path / "abmil.safetensors"
    manifest = Manifest(schema_version=1, kind="abmil", made_from={"encoder": "e" * 64})
    state = {
        name: value.detach().numpy() for name, value in Abmil(dim=3, hidden=2).named_parameters()
    }
    save_arrays(path, state, manifest)
    with pytest.raises(ArtifactError, match="doesn't name the tile encoder"):
        load_slide_encoder("abmil", weights=path)
    del state["attention.score.bias"]
    save_arrays(path, state, manifest)
    with pytest.raises(ModelError, match=r"missing, such as attention\.score\.bias"):
        load_slide_encoder("abmil", weights=path)


def test_published_weights_of_chief_pool_a_bag(tmp_path: Path) -> None:
    chance = torch.Generator().manual_seed(0)
    layout = slides.chief() | slides.chief_beside()
    torch.save(
        {name: torch.randn(shape, generator=chance) for name, shape in layout.items()},
        tmp_path / "CHIEF_pretraining.pth",
    )
    encoder = load_slide_encoder("chief", weights=tmp_path)
    bag = drawn_bag(20, 768, encoder="ctranspath", span0=1024, base_mpp=0.25)
    found = encoder.encode(bag)
    assert found.vector.shape == (768,)
    low, high = bag.embeddings.min(axis=0), bag.embeddings.max(axis=0)
    assert ((low <= found.vector) & (found.vector <= high)).all()


def test_the_grid_begins_where_the_encoder_wants_it() -> None:
    bag = drawn_bag(50, 4, span0=100)
    column, row = bag.xy0.T
    corner = grid_cells(SLIDE_ENCODERS.get("prov-gigapath-slide"), bag)
    assert np.array_equal(corner, np.stack([column // 100, row // 100], axis=1))
    first = grid_cells(SLIDE_ENCODERS.get("titan"), bag)
    assert np.array_equal(first, corner - corner.min(axis=0))
    assert not grid_cells(SLIDE_ENCODERS.get("chief"), bag).any()


def test_tiles_that_lie_on_each_other_are_told() -> None:
    from ruichat.features.slide_encoders import titan
    from ruichat.features.slide_encoders.encoder import SlideEncoder

    card = replace(SLIDE_ENCODERS.get("titan"), tile_dim=24)
    encoder = SlideEncoder(card, titan.build(dim=24, depth=1, num_heads=3), digest="")
    bag = drawn_bag(12, 24, encoder="conch-v1.5", span0=1024, base_mpp=0.25)
    assert encoder.encode(bag).warnings == ()
    xy0 = bag.xy0.copy()
    xy0[3] = xy0[2]
    (warning,) = encoder.encode(replace(bag, xy0=xy0)).warnings
    assert warning.startswith("1 tiles lie where others")
