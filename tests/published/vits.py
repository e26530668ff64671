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


LAYOUTS: dict[str, Callable[[], Layout]] = {
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
}
