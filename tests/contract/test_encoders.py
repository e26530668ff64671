"""What every card of a tile encoder must hold, on its true architecture without its weights."""

from __future__ import annotations

import math

import pytest
import torch
from published import BESIDE, LAYOUTS, Layout

from ruichat.errors import ModelError
from ruichat.features.card import EncoderCard
from ruichat.features.encoder import ENCODERS
from ruichat.features.encoders.loading import build_module, place, rename

BUILT = [name for name in ENCODERS if ENCODERS.get(name).architecture is not None]


def published(name: str) -> dict[str, torch.Tensor]:
    """The published arrays, names and shapes without numbers."""
    return shapes(LAYOUTS[name]() | BESIDE.get(name, dict)())


def shapes(layout: Layout) -> dict[str, torch.Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in layout.items()}


def put(card: EncoderCard, content: dict[str, torch.Tensor]) -> torch.nn.Module:
    assert card.architecture is not None
    with torch.device("meta"):
        module = build_module(card.architecture).eval()
        state = rename(card.architecture, content)
        place(module, state, card=card, file="weights.bin")
        return module


@pytest.mark.parametrize("name", BUILT)
def test_published_weights_fill_the_true_architecture(name: str) -> None:
    card = ENCODERS.get(name)
    assert sum(math.prod(shape) for shape in LAYOUTS[name]().values()) == card.num_parameters
    module = put(card, published(name))
    pixels = torch.empty((2, 3, card.input_px, card.input_px), device="meta")
    assert module(pixels).shape == (2, card.dim)


@pytest.mark.parametrize("name", BUILT)
def test_an_array_too_few_or_too_many_is_refused(name: str) -> None:
    card = ENCODERS.get(name)
    content, needed = published(name), list(LAYOUTS[name]())
    lost = [key for key in needed if key.endswith(".weight")][len(needed) // 4]
    with pytest.raises(ModelError, match=f"weights of encoder '{name}'.*missing"):
        put(card, {key: value for key, value in content.items() if key != lost})
    with pytest.raises(ModelError, match=r"left over, such as .*surplus"):
        put(card, content | {"surplus.weight": torch.empty((3, 3), device="meta")})


@pytest.mark.parametrize("name", ENCODERS)
def test_cards_state_what_a_user_must_know(name: str) -> None:
    card = ENCODERS.get(name)
    assert card.license and card.tile_mpp > 0 and card.tile_px >= card.input_px > 0
    assert all(0 < value < 1 for value in (*card.mean, *card.std)) or card.mean == (0.0,) * 3
    assert card.loader or (card.source and card.pooling and card.files)
    assert all(math.isfinite(value) for value in (*card.mean, *card.std))
