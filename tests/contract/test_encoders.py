"""What every card of a tile encoder must hold, on its true architecture without its weights."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from published import BESIDE, LAYOUTS, STATED_ARRAYS, STATED_MILLIONS, UNDER

from ruichat.errors import ModelError
from ruichat.features.card import Architecture, EncoderCard
from ruichat.features.encoder import ENCODERS
from ruichat.features.encoders.loading import build_module, place, rename

BUILT = [name for name in ENCODERS if ENCODERS.get(name).architecture is not None]


def published(name: str) -> dict[str, torch.Tensor]:
    """The published arrays, names and shapes without numbers."""
    layout = LAYOUTS[name]() | BESIDE.get(name, dict)()
    return {key: torch.empty(shape, device="meta") for key, shape in layout.items()}


@functools.lru_cache
def true_module(name: str) -> torch.nn.Module:
    """The whole architecture, shapes without numbers."""
    with torch.device("meta"):
        return build_module(architecture_of(ENCODERS.get(name))).eval()


def architecture_of(card: EncoderCard) -> Architecture:
    assert card.architecture is not None
    return card.architecture


def put(card: EncoderCard, arrays: dict[str, torch.Tensor]) -> None:
    content: dict[str, Any] = {UNDER[card.name]: arrays} if card.name in UNDER else arrays
    with torch.device("meta"):
        state = rename(architecture_of(card), content)
        place(true_module(card.name), state, card=card, file="weights.bin")


@pytest.mark.parametrize("name", BUILT)
def test_published_weights_fill_the_true_architecture(name: str) -> None:
    card = ENCODERS.get(name)
    put(card, published(name))
    pixels = torch.empty((2, 3, card.input_px, card.input_px), device="meta")
    assert true_module(name)(pixels).shape == (2, card.dim)


@pytest.mark.parametrize("name", BUILT)
def test_parameters_are_those_stated(name: str) -> None:
    card, layout = ENCODERS.get(name), LAYOUTS[name]()
    assert sum(math.prod(shape) for shape in layout.values()) == card.num_parameters
    if name in STATED_MILLIONS:
        assert card.num_parameters / 1e6 == pytest.approx(STATED_MILLIONS[name], rel=2.5e-3)
    assert len(layout) == STATED_ARRAYS.get(name, len(layout))


@pytest.mark.parametrize("name", BUILT)
def test_an_array_too_few_or_too_many_is_refused(name: str) -> None:
    card = ENCODERS.get(name)
    arrays, needed = published(name), list(LAYOUTS[name]())
    lost = [key for key in needed if key.endswith(".weight")][len(needed) // 4]
    with pytest.raises(ModelError, match=f"weights of encoder '{name}'.*missing"):
        put(card, {key: value for key, value in arrays.items() if key != lost})
    with pytest.raises(ModelError, match=r"left over, such as .*surplus"):
        put(card, arrays | {"surplus.weight": torch.empty((3, 3), device="meta")})


@pytest.mark.parametrize("name", ENCODERS)
def test_cards_state_what_a_user_must_know(name: str) -> None:
    card = ENCODERS.get(name)
    assert card.license and card.tile_mpp > 0 and card.tile_px >= card.input_px > 0
    assert all(0 < value < 1 for value in (*card.mean, *card.std)) or card.mean == (0.0,) * 3
    assert card.loader or (card.source and card.pooling and card.files)
    assert card.revision == "" or card.loader or len(card.revision) == 40
