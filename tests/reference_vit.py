"""timm's vision transformer as plain functions over its published state dict.

Written from its description, apart from the code that maps names: what a test compares with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def tokens_of(
    state: Mapping[str, Tensor],
    pixels: Tensor,
    *,
    heads: int,
    positions: str = "all",
    gated: bool = False,
    eps: float = 1e-6,
    rope: float = 0.0,
) -> Tensor:
    """Normed tokens [b,t,e]: CLS, registers, patches.

    Args:
        state: timm's names; without `pos_embed` where positions are rotary.
        pixels: [b,3,h,w].
        heads: of each attention.
        positions: what `pos_embed` is for: "all" tokens, "cls" and patches, "patches".
        gated: `fc1` holds gate and values.
        eps: of the norms.
        rope: base of DINOv3's rotary positions; none if 0.
    """
    x = _embed(state, pixels, positions)
    side = pixels.shape[-1] // state["patch_embed.proj.weight"].shape[-1]
    angles = rotary_angles(side, x.shape[-1] // heads, rope) if rope else None
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    for i in range(depth):
        block = {
            name.removeprefix(f"blocks.{i}."): value
            for name, value in state.items()
            if name.startswith(f"blocks.{i}.")
        }
        y = _attend(block, _norm(block, "norm1", x, eps), heads, angles)
        x = x + y * block.get("ls1.gamma", torch.ones(()))
        y = _feed(block, _norm(block, "norm2", x, eps), gated)
        x = x + y * block.get("ls2.gamma", torch.ones(()))
    return _norm(state, "norm", x, eps)


def _embed(state: Mapping[str, Tensor], pixels: Tensor, positions: str) -> Tensor:
    kernel = state["patch_embed.proj.weight"]
    patches = F.conv2d(pixels, kernel, state["patch_embed.proj.bias"], stride=kernel.shape[-1])
    patches = patches.flatten(2).transpose(1, 2)
    num, where = len(pixels), state.get("pos_embed", torch.zeros(()))
    first = [state["cls_token"].expand(num, -1, -1)]
    registers = [state["reg_token"].expand(num, -1, -1)] if "reg_token" in state else []
    if positions == "patches":
        return torch.cat([*first, *registers, patches + where], dim=1)
    if positions == "all":
        return torch.cat([*first, *registers, patches], dim=1) + where
    x = torch.cat([*first, patches], dim=1) + where
    return torch.cat([x[:, :1], *registers, x[:, 1:]], dim=1)


def _norm(state: Mapping[str, Tensor], name: str, x: Tensor, eps: float) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    scaled = (x - mean) / torch.sqrt(variance + eps)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def rotary_angles(side: int, width: int, base: float) -> Tensor:
    """Angles [patches, width] of a square grid: rows in the first quarter, columns in the next.

    Source:
        DINOv3's `RopePositionEmbedding`: centres of patches in -1 to 1, one period per quarter.
    """
    centres = (torch.arange(side) + 0.5) / side * 2 - 1
    periods = base ** (torch.arange(width // 4) / (width // 4))
    rows = centres.repeat_interleave(side)[:, None] / periods
    columns = centres.repeat(side)[:, None] / periods
    half = 2 * math.pi * torch.cat([rows, columns], dim=1)
    return torch.cat([half, half], dim=1)


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    """The last tokens of `x` [b,h,t,w] turned; those before the patches stay."""
    first, patches = x[:, :, : -len(angles)], x[:, :, -len(angles) :]
    half = patches.shape[-1] // 2
    turned = torch.cat([-patches[..., half:], patches[..., :half]], dim=-1)
    return torch.cat([first, patches * angles.cos() + turned * angles.sin()], dim=2)


def _attend(block: Mapping[str, Tensor], x: Tensor, heads: int, angles: Tensor | None) -> Tensor:
    b, t, e = x.shape
    qkv = x @ block["attn.qkv.weight"].T + block["attn.qkv.bias"]
    q, k, v = qkv.view(b, t, 3, heads, e // heads).permute(2, 0, 3, 1, 4)
    if angles is not None:
        q, k = _rotate(q, angles), _rotate(k, angles)
    weights = (q @ k.transpose(-1, -2) / math.sqrt(e // heads)).softmax(-1)
    mixed = (weights @ v).transpose(1, 2).reshape(b, t, e)
    return mixed @ block["attn.proj.weight"].T + block["attn.proj.bias"]


def _feed(block: Mapping[str, Tensor], x: Tensor, gated: bool) -> Tensor:
    x = x @ block["mlp.fc1.weight"].T + block["mlp.fc1.bias"]
    if gated:
        half = x.shape[-1] // 2
        gate, values = x[..., :half], x[..., half:]
        x = gate * torch.sigmoid(gate) * values
    else:
        x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    return x @ block["mlp.fc2.weight"].T + block["mlp.fc2.bias"]


def clip_embedding(state: Mapping[str, Tensor], pixels: Tensor, *, heads: int) -> Tensor:
    """Projected CLS token of CLIP's image half, from transformers' names."""
    half = {
        name.removeprefix("vision_model."): value
        for name, value in state.items()
        if name.startswith("vision_model.")
    }
    kernel = half["embeddings.patch_embedding.weight"]
    patches = F.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    cls = half["embeddings.class_embedding"].expand(len(pixels), 1, -1)
    x = torch.cat([cls, patches], dim=1) + half["embeddings.position_embedding.weight"]
    x = _norm(half, "pre_layrnorm", x, 1e-5)
    depth = 1 + max(int(n.split(".")[2]) for n in half if n.startswith("encoder.layers."))
    for i in range(depth):
        at = f"encoder.layers.{i}"
        y = _norm(half, f"{at}.layer_norm1", x, 1e-5)
        x = x + _attend(_fused(half, f"{at}.self_attn"), y, heads, None)
        y = _linear(half, f"{at}.mlp.fc1", _norm(half, f"{at}.layer_norm2", x, 1e-5))
        x = x + _linear(half, f"{at}.mlp.fc2", y * torch.sigmoid(1.702 * y))
    return _norm(half, "post_layernorm", x[:, 0], 1e-5) @ state["visual_projection.weight"].T


def _linear(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _fused(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Separate projections of an attention as timm's fused one."""
    fused = {
        f"attn.qkv.{kind}": torch.cat([state[f"{name}.{part}_proj.{kind}"] for part in "qkv"])
        for kind in ("weight", "bias")
    }
    return fused | {
        f"attn.proj.{kind}": state[f"{name}.out_proj.{kind}"] for kind in ("weight", "bias")
    }
