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
) -> Tensor:
    """Normed tokens [b,t,e]: CLS, registers, patches."""
    x = _embed(state, pixels, positions)
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    for i in range(depth):
        block = {
            name.removeprefix(f"blocks.{i}."): value
            for name, value in state.items()
            if name.startswith(f"blocks.{i}.")
        }
        y = _attend(block, _norm(block, "norm1", x, eps), heads)
        x = x + y * block.get("ls1.gamma", torch.ones(()))
        y = _feed(block, _norm(block, "norm2", x, eps), gated)
        x = x + y * block.get("ls2.gamma", torch.ones(()))
    return _norm(state, "norm", x, eps)


def _embed(state: Mapping[str, Tensor], pixels: Tensor, positions: str) -> Tensor:
    kernel = state["patch_embed.proj.weight"]
    patches = F.conv2d(pixels, kernel, state["patch_embed.proj.bias"], stride=kernel.shape[-1])
    patches = patches.flatten(2).transpose(1, 2)
    num, where = len(pixels), state["pos_embed"]
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


def _attend(block: Mapping[str, Tensor], x: Tensor, heads: int) -> Tensor:
    b, t, e = x.shape
    qkv = x @ block["attn.qkv.weight"].T + block["attn.qkv.bias"]
    q, k, v = qkv.view(b, t, 3, heads, e // heads).permute(2, 0, 3, 1, 4)
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
