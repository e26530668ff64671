"""Layouts of the vision transformers: timm's, transformers', Meta's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

Layout = dict[str, tuple[int, ...]]


def linear(name: str, out: int, into: int) -> Layout:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Layout:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def timm_vit(
    *,
    width: int,
    depth: int,
    patch: int,
    positions: int,
    registers: int = 0,
    hidden: int = 0,
    gated: bool = False,
    layer_scale: bool = True,
) -> Layout:
    """timm's `VisionTransformer` without a head.

    Args:
        positions: rows of `pos_embed`.
        hidden: inputs of `fc2`; four times the width if 0.
    """
    hidden = hidden or 4 * width
    layout: Layout = {"cls_token": (1, 1, width), "pos_embed": (1, positions, width)}
    if registers:
        layout["reg_token"] = (1, registers, width)
    layout["patch_embed.proj.weight"] = (width, 3, patch, patch)
    layout["patch_embed.proj.bias"] = (width,)
    for i in range(depth):
        block = f"blocks.{i}"
        layout |= norm(f"{block}.norm1", width)
        layout |= linear(f"{block}.attn.qkv", 3 * width, width)
        layout |= linear(f"{block}.attn.proj", width, width)
        layout |= norm(f"{block}.norm2", width)
        layout |= linear(f"{block}.mlp.fc1", 2 * hidden if gated else hidden, width)
        layout |= linear(f"{block}.mlp.fc2", width, hidden)
        if layer_scale:
            layout |= {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
    return layout | norm("norm", width)


def transformers_dinov2(
    *,
    width: int,
    depth: int,
    patch: int,
    positions: int,
    registers: int = 0,
    hidden: int = 0,
    gated: bool = False,
) -> Layout:
    """`Dinov2Model`, with or without registers, as transformers 4 wrote it.

    Args:
        positions: rows of the position embeddings.
        hidden: inputs of the MLP's second layer; four times the width if 0.
    """
    hidden = hidden or 4 * width
    layout: Layout = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.mask_token": (1, width),
        "embeddings.position_embeddings": (1, positions, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (width,),
    }
    if registers:
        layout["embeddings.register_tokens"] = (1, registers, width)
    for i in range(depth):
        layer = f"encoder.layer.{i}"
        layout |= norm(f"{layer}.norm1", width) | norm(f"{layer}.norm2", width)
        for part in ("query", "key", "value"):
            layout |= linear(f"{layer}.attention.attention.{part}", width, width)
        layout |= linear(f"{layer}.attention.output.dense", width, width)
        layout |= {f"{layer}.layer_scale{n}.lambda1": (width,) for n in (1, 2)}
        if gated:
            layout |= linear(f"{layer}.mlp.weights_in", 2 * hidden, width)
            layout |= linear(f"{layer}.mlp.weights_out", width, hidden)
        else:
            layout |= linear(f"{layer}.mlp.fc1", hidden, width)
            layout |= linear(f"{layer}.mlp.fc2", width, hidden)
    return layout | norm("layernorm", width)


def transformers_vit(*, width: int, depth: int, patch: int, positions: int) -> Layout:
    """`ViTModel` without its pooler, as transformers 4 wrote it."""
    layout: Layout = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.position_embeddings": (1, positions, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (width,),
    }
    for i in range(depth):
        layer = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            layout |= linear(f"{layer}.attention.attention.{part}", width, width)
        layout |= linear(f"{layer}.attention.output.dense", width, width)
        layout |= linear(f"{layer}.intermediate.dense", 4 * width, width)
        layout |= linear(f"{layer}.output.dense", width, 4 * width)
        layout |= norm(f"{layer}.layernorm_before", width)
        layout |= norm(f"{layer}.layernorm_after", width)
    return layout | norm("layernorm", width)


def transformers_dinov3(*, width: int, depth: int, gated: bool = False) -> Layout:
    """`DINOv3ViTModel` of 16-px patches with 4 registers, as Meta published it."""
    layout: Layout = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.mask_token": (1, 1, width),
        "embeddings.register_tokens": (1, 4, width),
        "embeddings.patch_embeddings.weight": (width, 3, 16, 16),
        "embeddings.patch_embeddings.bias": (width,),
    }
    for i in range(depth):
        layer = f"layer.{i}"
        layout |= norm(f"{layer}.norm1", width) | norm(f"{layer}.norm2", width)
        for part in ("q", "v", "o"):
            layout |= linear(f"{layer}.attention.{part}_proj", width, width)
        layout[f"{layer}.attention.k_proj.weight"] = (width, width)
        layout |= {f"{layer}.layer_scale{n}.lambda1": (width,) for n in (1, 2)}
        layout |= linear(f"{layer}.mlp.up_proj", 4 * width, width)
        layout |= linear(f"{layer}.mlp.down_proj", width, 4 * width)
        if gated:
            layout |= linear(f"{layer}.mlp.gate_proj", 4 * width, width)
    return layout | norm("norm", width)


def meta_blocks(width: int, depth: int, num_chunks: int) -> Layout:
    """Blocks of Meta's DINO training, which may come in chunks: `blocks.CHUNK.INDEX`."""
    layout: Layout = {}
    for i in range(depth):
        chunk = f"{i * num_chunks // depth}." if num_chunks else ""
        block = f"backbone.blocks.{chunk}{i}"
        layout |= norm(f"{block}.norm1", width)
        layout |= linear(f"{block}.attn.qkv", 3 * width, width)
        layout |= linear(f"{block}.attn.proj", width, width)
        layout |= {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
        layout |= norm(f"{block}.norm2", width)
        layout |= linear(f"{block}.mlp.fc1", 4 * width, width)
        layout |= linear(f"{block}.mlp.fc2", width, 4 * width)
    return layout


def gpfm() -> Layout:
    """A DINOv2 teacher in four chunks."""
    layout: Layout = {
        "backbone.cls_token": (1, 1, 1024),
        "backbone.pos_embed": (1, 257, 1024),
        "backbone.mask_token": (1, 1024),
        "backbone.patch_embed.proj.weight": (1024, 3, 14, 14),
        "backbone.patch_embed.proj.bias": (1024,),
    }
    return layout | meta_blocks(1024, 24, num_chunks=4) | norm("backbone.norm", 1024)


def dino_head(name: str = "dino_head") -> Layout:
    return linear(f"{name}.mlp.0", 2048, 1024) | {f"{name}.last_layer.weight_v": (64, 256)}


def ruipath_dinov3() -> Layout:
    """A DINOv3 teacher."""
    layout: Layout = {
        "backbone.cls_token": (1, 1, 1024),
        "backbone.storage_tokens": (1, 4, 1024),
        "backbone.mask_token": (1, 1024),
        "backbone.patch_embed.proj.weight": (1024, 3, 16, 16),
        "backbone.patch_embed.proj.bias": (1024,),
    }
    layout |= norm("backbone.norm", 1024) | norm("backbone.local_cls_norm", 1024)
    return layout | meta_blocks(1024, 24, num_chunks=0)


def ruipath_dinov3_beside() -> Layout:
    heads = dino_head() | dino_head("ibot_head")
    return heads | {"backbone.rope_embed.periods": (16,)}


def clip_half(half: str, width: int) -> Layout:
    """Twelve layers of one half of OpenAI's CLIP ViT-B/32, as transformers' `CLIPModel`."""
    layout: Layout = {}
    for i in range(12):
        layer = f"{half}.encoder.layers.{i}"
        for part in ("q", "k", "v", "out"):
            layout |= linear(f"{layer}.self_attn.{part}_proj", width, width)
        layout |= linear(f"{layer}.mlp.fc1", 4 * width, width)
        layout |= linear(f"{layer}.mlp.fc2", width, 4 * width)
        layout |= norm(f"{layer}.layer_norm1", width) | norm(f"{layer}.layer_norm2", width)
    return layout


def clip_b32() -> Layout:
    """The half for images and its projection."""
    half = "vision_model"
    layout: Layout = {
        f"{half}.embeddings.class_embedding": (768,),
        f"{half}.embeddings.patch_embedding.weight": (768, 3, 32, 32),
        f"{half}.embeddings.position_embedding.weight": (50, 768),
        "visual_projection.weight": (512, 768),
    }
    layout |= norm(f"{half}.pre_layrnorm", 768) | norm(f"{half}.post_layernorm", 768)
    return layout | clip_half(half, 768)


def clip_b32_beside() -> Layout:
    """The half for text, and counters."""
    layout: Layout = {
        "vision_model.embeddings.position_ids": (1, 50),
        "text_model.embeddings.position_ids": (1, 77),
        "text_model.embeddings.token_embedding.weight": (49408, 512),
        "text_model.embeddings.position_embedding.weight": (77, 512),
        "text_projection.weight": (512, 512),
        "logit_scale": (),
    }
    return layout | clip_half("text_model", 512) | norm("text_model.final_layer_norm", 512)


_S, _B, _L = (
    {"width": width, "depth": depth} for width, depth in ((384, 12), (768, 12), (1024, 24))
)
_G = {"width": 1536, "depth": 40, "hidden": 4096, "gated": True}
_VIRCHOW = {"width": 1280, "depth": 32, "patch": 14, "hidden": 3416, "gated": True}
_OPTIMUS = partial(timm_vit, **_G, patch=14, positions=256, registers=4)
_PLAIN = partial(timm_vit, layer_scale=False)

LAYOUTS: dict[str, Callable[[], Layout]] = {
    "ruipath-v1": partial(timm_vit, **_L, patch=16, positions=197),
    "ruipath-dinov3": ruipath_dinov3,
    "uni": partial(timm_vit, **_L, patch=16, positions=197),
    "uni2-h": partial(
        timm_vit,
        width=1536,
        depth=24,
        patch=14,
        positions=256,
        registers=8,
        hidden=4096,
        gated=True,
    ),
    "virchow": partial(timm_vit, **_VIRCHOW, positions=257),
    "virchow2": partial(timm_vit, **_VIRCHOW, positions=261, registers=4),
    "h-optimus-0": _OPTIMUS,
    "h-optimus-1": _OPTIMUS,
    "h0-mini": partial(
        timm_vit, **_B, patch=14, positions=256, registers=4, hidden=2048, gated=True
    ),
    "prov-gigapath": partial(timm_vit, **_G, patch=16, positions=197),
    "phikon": partial(transformers_vit, **_B, patch=16, positions=197),
    "phikon-v2": partial(transformers_dinov2, **_L, patch=16, positions=197),
    "midnight-12k": partial(transformers_dinov2, **_G, patch=14, positions=257),
    "kaiko-vits8": partial(_PLAIN, **_S, patch=8, positions=785),
    "kaiko-vits16": partial(_PLAIN, **_S, patch=16, positions=197),
    "kaiko-vitb8": partial(_PLAIN, **_B, patch=8, positions=785),
    "kaiko-vitb16": partial(_PLAIN, **_B, patch=16, positions=197),
    "kaiko-vitl14": partial(timm_vit, **_L, patch=14, positions=1369, registers=4),
    "hibou-b": partial(
        transformers_dinov2, **_B, patch=14, positions=257, registers=4, hidden=2048, gated=True
    ),
    "hibou-l": partial(
        transformers_dinov2, **_L, patch=14, positions=257, registers=4, hidden=2736, gated=True
    ),
    "gpfm": gpfm,
    "exaonepath": partial(_PLAIN, **_B, patch=16, positions=197),
    "plip": clip_b32,
    "dinov2-small": partial(transformers_dinov2, **_S, patch=14, positions=1370),
    "dinov2-base": partial(transformers_dinov2, **_B, patch=14, positions=1370),
    "dinov2-large": partial(transformers_dinov2, **_L, patch=14, positions=1370),
    "dinov2-giant": partial(transformers_dinov2, **_G, patch=14, positions=1370),
    "dinov3-vits16": partial(transformers_dinov3, **_S),
    "dinov3-vits16plus": partial(transformers_dinov3, **_S, gated=True),
    "dinov3-vitb16": partial(transformers_dinov3, **_B),
    "dinov3-vitl16": partial(transformers_dinov3, **_L),
    "dinov3-vith16plus": partial(transformers_dinov3, width=1280, depth=32, gated=True),
}

BESIDE: dict[str, Callable[[], Layout]] = {
    "gpfm": dino_head,
    "ruipath-dinov3": ruipath_dinov3_beside,
    "plip": clip_b32_beside,
}

UNDER = {"gpfm": "teacher", "ruipath-dinov3": "teacher"}
"""Key under which the file keeps its arrays, where it does."""

STATED_MILLIONS: dict[str, float] = {
    "ruipath-v1": 303.350784,
    "uni2-h": 681,
    "virchow": 632,
    "virchow2": 632,
    "h-optimus-0": 1134.8,
    "h-optimus-1": 1134.8,
    "h0-mini": 85.7,
    "hibou-b": 85.7,
    "exaonepath": 86,
    "dinov2-giant": 1136.5,
    "dinov2-large": 304.4,
    "dinov3-vits16": 21.6,
    "dinov3-vits16plus": 28.7,
    "dinov3-vitb16": 85.7,
    "dinov3-vith16plus": 840,
}
"""Parameters as model cards and papers state them, or the published file's bytes over four."""

STATED_ARRAYS: dict[str, int] = {
    "ruipath-v1": 342,
    "ruipath-dinov3": 345,
    "uni2-h": 343,
    "virchow2": 455,
    "h-optimus-0": 567,
    "phikon-v2": 439,
    "midnight-12k": 727,
}
"""Parameters among the arrays of the published file, as stated by those who opened it (RuiPath's
DINOv3 form: 346 with the periods of the rotary positions)."""
