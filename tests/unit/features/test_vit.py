"""The mapping of published vision transformers, in numbers, at a depth that takes milliseconds."""

from __future__ import annotations

import pytest
import torch
from published.vits import timm_vit
from reference_vit import tokens_of
from torch import Tensor

from ruichat.features.card import Architecture
from ruichat.features.encoder import ENCODERS
from ruichat.features.encoders.loading import build_module, place, rename

VIT = "ruichat.features.encoders.vit:build"
TIMM = "ruichat.features.encoders.vit_names:rename_timm"
WIDTH, HEADS, PATCH, SIDE = 24, 2, 7, 28
NUM_PATCHES = (SIDE // PATCH) ** 2

FAMILIES = {
    "plain": {"layer_scale": False},
    "layer-scale": {},
    "gated": {"gated": True},
    "registers-all": {"registers": 3},
    "registers-cls": {"registers": 3, "covers": "cls"},
    "registers-patches-gated": {"registers": 3, "covers": "patches", "gated": True},
}


def drawn(layout: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Numbers for every array, far from the usual zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) / 3 for name, shape in layout.items()}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("pooling", ["cls", "mean", "cls+mean"])
def test_a_renamed_encoder_computes_what_the_published_one_does(name: str, pooling: str) -> None:
    family = {"layer_scale": True, "gated": False, "registers": 0, "covers": "all"}
    family |= FAMILIES[name]
    registers, covers, gated = family["registers"], family["covers"], family["gated"]
    extra = {"all": 1 + registers, "cls": 1, "patches": 0}[covers]
    layout = timm_vit(
        width=WIDTH,
        depth=2,
        patch=PATCH,
        positions=NUM_PATCHES + extra,
        registers=registers,
        hidden=64 if gated else 0,
        gated=gated,
        layer_scale=family["layer_scale"],
    )
    state = drawn(layout)
    body = "dinov2" if family["layer_scale"] else "vit"
    architecture = Architecture(
        VIT,
        TIMM,
        {
            "body": body,
            "width": WIDTH,
            "depth": 2,
            "heads": HEADS,
            "patch_px": PATCH,
            "image_px": SIDE,
            "registers": registers,
            "mlp": "swiglu" if gated else "gelu",
            "pooling": pooling,
        },
        {"body": body, "positions": covers, "gated": gated},
    )
    module = build_module(architecture).eval()
    place(module, rename(architecture, state), card=ENCODERS.get("uni2-h"), file="drawn")
    pixels = torch.randn(2, 3, SIDE, SIDE)
    tokens = tokens_of(state, pixels, heads=HEADS, positions=covers, gated=gated)
    mean = tokens[:, 1 + registers :].mean(1)
    wanted = {"cls": tokens[:, 0], "mean": mean, "cls+mean": torch.cat([tokens[:, 0], mean], 1)}
    torch.testing.assert_close(module(pixels), wanted[pooling], atol=1e-5, rtol=1e-5)
