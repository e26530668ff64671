"""The mapping against timm's own module, where timm can be imported."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from published import LAYOUTS

from ruichat.features.card import Architecture
from ruichat.features.encoder import ENCODERS
from ruichat.features.encoders.loading import build_module, place, rename

timm = pytest.importorskip("timm")

SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "silu"}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "ruipath-v1": ("vit_large_patch16_224", {"init_values": 1e-5}),
    "uni": ("vit_large_patch16_224", {"init_values": 1e-5}),
    "uni2-h": (
        "vit_giant_patch14_224",
        {
            "depth": 24,
            "num_heads": 24,
            "embed_dim": 1536,
            "mlp_ratio": 2.66667 * 2,
            "init_values": 1e-5,
            "no_embed_class": True,
            "reg_tokens": 8,
            **SWIGLU,
        },
    ),
    "virchow": ("vit_huge_patch14_224", {"init_values": 1e-5, "mlp_ratio": 5.3375, **SWIGLU}),
    "virchow2": (
        "vit_huge_patch14_224",
        {"init_values": 1e-5, "mlp_ratio": 5.3375, "reg_tokens": 4, **SWIGLU},
    ),
    "h-optimus-0": ("vit_giant_patch14_reg4_dinov2", {"img_size": 224}),
    "h-optimus-1": ("vit_giant_patch14_reg4_dinov2", {"img_size": 224}),
    "h0-mini": (
        "vit_base_patch14_reg4_dinov2",
        {"img_size": 224, "mlp_ratio": 5.33334, **SWIGLU},
    ),
    "prov-gigapath": (
        "vit_giant_patch14_dinov2",
        {"img_size": 224, "patch_size": 16, "mlp_ratio": 5.33334},
    ),
    "kaiko-vits8": ("vit_small_patch8_224", {}),
    "kaiko-vits16": ("vit_small_patch16_224", {}),
    "kaiko-vitb8": ("vit_base_patch8_224", {}),
    "kaiko-vitb16": ("vit_base_patch16_224", {}),
    "kaiko-vitl14": ("vit_large_patch14_reg4_dinov2", {"dynamic_img_size": True}),
}
"""How their model cards make them."""

DEPTH = 2
"""Blocks in the comparison of numbers; all are alike."""


def timm_model(name: str, **changes: Any) -> torch.nn.Module:
    model, options = MODELS[name]
    given = {**options, **changes, "num_classes": 0, "global_pool": ""}
    if given.get("mlp_layer") == "SwiGLUPacked":
        given |= {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}
    return timm.create_model(model, **given).eval()


@pytest.mark.parametrize("name", MODELS)
def test_timms_true_module_has_the_published_layout(name: str) -> None:
    with torch.device("meta"):
        state = timm_model(name).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == LAYOUTS[name]()


@pytest.mark.parametrize("name", MODELS)
def test_our_embedding_is_timms(name: str) -> None:
    torch.manual_seed(0)
    card = ENCODERS.get(name)
    published = card.architecture
    assert published is not None
    model = timm_model(name, depth=DEPTH)
    with torch.no_grad():
        for parameter in model.parameters():
            wide = parameter.ndim in (2, 4)
            parameter.normal_(std=parameter[0].numel() ** -0.5 if wide else 0.5)
    architecture = Architecture(
        published.build,
        published.rename,
        {**published.options, "depth": DEPTH},
        published.rename_options,
    )
    module = build_module(architecture).eval()
    place(module, rename(architecture, model.state_dict()), card=card, file="timm")
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        tokens, given = model(pixels), module(pixels)
    wanted = tokens[:, 0]
    if card.dim > tokens.shape[-1]:
        wanted = torch.cat([wanted, tokens[:, model.num_prefix_tokens :].mean(1)], dim=-1)
    assert wanted.std() > 0.1
    torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-5)
