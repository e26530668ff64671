"""What every card of a slide encoder must hold; true architectures on the meta device."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes_bags import drawn_bag
from published import slides

from ruichat.errors import ArtifactError, ModelError
from ruichat.features.bag import FeatureBag
from ruichat.features.encoder import ENCODERS
from ruichat.features.encoders.loading import build_module, place, rename
from ruichat.features.slide_encoders.card import SlideEncoderCard
from ruichat.features.slide_encoders.cards import SLIDE_ENCODERS
from ruichat.features.slide_encoders.encoder import SlideEncoder
from ruichat.features.slide_encoders.mil import Abmil, Mean
from ruichat.registry import load_object

BUILT = [name for name in SLIDE_ENCODERS if SLIDE_ENCODERS.get(name).architecture is not None]

TILE_DIM = 24

SMALL = {
    "chief": {"dim": TILE_DIM, "project": 16, "hidden": 8},
    "titan": {"dim": TILE_DIM, "depth": 2, "num_heads": 3},
    "prov-gigapath-slide": {
        "tile_dim": TILE_DIM,
        "dim": 32,
        "depth": 2,
        "num_heads": 4,
        "segments": "8,20",
        "ratios": "1,2",
    },
}


def small(name: str) -> SlideEncoder:
    """The slide encoder of that name with few random parameters."""
    torch.manual_seed(0)
    card = SLIDE_ENCODERS.get(name)
    if card.architecture is not None:
        module = load_object(card.architecture.build)(**SMALL[name])  # type: ignore[operator]
    else:
        module = Mean() if name == "mean" else Abmil(dim=TILE_DIM, hidden=8)
    return SlideEncoder(replace(card, tile_dim=TILE_DIM), module, digest="0" * 64)


def bag_for(card: SlideEncoderCard, num_tiles: int = 60) -> FeatureBag:
    span0 = round((card.tile_um or 112) / 0.25)
    return drawn_bag(
        num_tiles, TILE_DIM, encoder=card.tile_encoder or "mini", span0=span0, base_mpp=0.25
    )


def put(card: SlideEncoderCard, content: dict[str, torch.Tensor]) -> torch.nn.Module:
    assert card.architecture is not None
    with torch.device("meta"):
        module = build_module(card.architecture)
        place(module, rename(card.architecture, content), card=card, file="weights.bin")
        return module


def shapes(layout: slides.Layout) -> dict[str, torch.Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in layout.items()}


@pytest.mark.parametrize("name", BUILT)
def test_published_weights_fill_the_true_architecture(name: str) -> None:
    card = SLIDE_ENCODERS.get(name)
    needed = slides.LAYOUTS[name]()
    assert sum(math.prod(shape) for shape in needed.values()) == card.num_parameters
    module = put(card, shapes(needed | slides.BESIDE[name]()))
    assert sum(value.numel() for value in module.parameters()) == card.num_parameters


@pytest.mark.parametrize("name", BUILT)
def test_an_array_too_few_or_too_many_is_refused(name: str) -> None:
    card, needed = SLIDE_ENCODERS.get(name), slides.LAYOUTS[name]()
    lost = [key for key in needed if key.endswith(".weight")][len(needed) // 4]
    with pytest.raises(ModelError, match=f"weights of encoder '{name}'.*missing"):
        put(card, shapes({key: shape for key, shape in needed.items() if key != lost}))
    with pytest.raises(ModelError, match=r"left over, such as .*surplus"):
        put(card, shapes(needed | {"surplus.weight": (3, 3)}))


@pytest.mark.parametrize("name", SLIDE_ENCODERS)
def test_one_vector_per_slide_whatever_the_order_of_its_tiles(name: str) -> None:
    encoder = small(name)
    bag = bag_for(encoder.card)
    found = encoder.encode(bag)
    assert found.vector.ndim == 1 and np.ptp(found.vector) > 0
    assert (found.num_tiles, found.slide_encoder) == (60, name)
    order = np.random.default_rng(1).permutation(60)
    shuffled = replace(
        bag,
        embeddings=bag.embeddings[order],
        xy0=bag.xy0[order],
        focus=bag.focus[order],
        hematoxylin=bag.hematoxylin[order],
        eosin=bag.eosin[order],
    )
    np.testing.assert_allclose(encoder.encode(shuffled).vector, found.vector, atol=2e-5)


@pytest.mark.parametrize("name", SLIDE_ENCODERS)
def test_bags_that_it_was_not_made_for_are_refused(name: str) -> None:
    encoder = small(name)
    card = encoder.card
    bag = bag_for(card)
    if card.tile_encoder:
        both = f"'other'.*'{name}' takes bags of '{card.tile_encoder}'"
        with pytest.raises(ArtifactError, match=both):
            encoder.encode(replace(bag, encoder="other"))
    if card.tile_um:
        with pytest.raises(ArtifactError, match=f"takes {card.tile_um:.0f} um"):
            encoder.encode(replace(bag, span0=bag.span0 // 2))
        encoder.encode(replace(bag, base_mpp=bag.base_mpp * 1.06))
    narrow = replace(bag, embeddings=bag.embeddings[:, 1:].copy())
    with pytest.raises(ArtifactError, match=r"d=23.*d=24"):
        encoder.encode(narrow)


@pytest.mark.parametrize("name", SLIDE_ENCODERS)
def test_cards_state_what_a_user_must_know(name: str) -> None:
    card = SLIDE_ENCODERS.get(name)
    assert card.license and card.pooling and card.source
    assert (card.architecture is None) == (card.num_parameters == 0)
    assert bool(card.tile_encoder) == bool(card.tile_dim) == bool(card.tile_um)
    if card.tile_encoder in set(ENCODERS):
        tiles = ENCODERS.get(card.tile_encoder)
        assert (card.tile_dim, card.tile_mpp) == (tiles.dim, tiles.tile_mpp)


def test_cards_are_read_without_torch() -> None:
    code = (
        "import sys; from ruichat.features.slide_encoders.cards import SLIDE_ENCODERS; "
        "assert 'titan' in list(SLIDE_ENCODERS); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
