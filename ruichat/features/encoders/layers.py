"""Parts of vision transformers that transformers has no class for.

Parameters are named as in the published checkpoints, so that placing them needs no table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Projections(nn.Module):
    """What self-attention learns: query, key and value from one projection, and the output's."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, x: Float[Tensor, "b t d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each [b,h,t,d/h]."""
        size = (x.shape[0], x.shape[1], 3, self.num_heads, x.shape[2] // self.num_heads)
        query, key, value = self.qkv(x).reshape(size).permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value


class Attention(Projections):
    """Self-attention over all tokens."""

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Attend over all tokens."""
        mixed = F.scaled_dot_product_attention(*self.split(x))
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers with GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "*t d"]) -> Float[Tensor, "*t d"]:
        """Token by token."""
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """One learned factor per channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Scale channels."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block of ViT, with or without layer scale.

    Source:
        Dosovitskiy et al. 2020, arXiv:2010.11929; layer scale: Touvron et al. 2021,
        arXiv:2103.17239.
    """

    def __init__(self, dim: int, num_heads: int, *, layer_scale: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)
        self.ls1 = LayerScale(dim) if layer_scale else nn.Identity()
        self.ls2 = LayerScale(dim) if layer_scale else nn.Identity()

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """One block."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Patches to tokens by one strided convolution."""

    def __init__(self, dim: int, patch_px: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_px, stride=patch_px)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t d"]:
        """Tokens row by row."""
        return self.proj(pixels).flatten(2).transpose(1, 2)


class ViT(nn.Module):
    """Vision transformer that gives all its tokens, the class token first.

    Args:
        grid: patches per side that the position table was trained for.
        scale_offset: what was added to the number of patches per side when positions were
            resized in training; it moves where the table is sampled.
    """

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        num_heads: int,
        grid: int,
        patch_px: int = 16,
        layer_scale: bool = False,
        scale_offset: float = 0.0,
    ) -> None:
        super().__init__()
        self.grid, self.patch_px, self.scale_offset = grid, patch_px, scale_offset
        self.patch_embed = PatchEmbed(dim, patch_px)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + grid * grid, dim) * 0.02)
        self.blocks = nn.Sequential(
            *(Block(dim, num_heads, layer_scale=layer_scale) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t d"]:
        """Tokens after the last norm."""
        patches = self.patch_embed(pixels)
        first = self.cls_token.expand(patches.shape[0], -1, -1)
        tokens = torch.cat([first, patches], dim=1)
        tokens = tokens + self.positions(int(pixels.shape[2]) // self.patch_px)
        return self.norm(self.blocks(tokens))

    def positions(self, side: int) -> Float[Tensor, "1 t d"]:
        """The position table for `side` x `side` patches."""
        if side == self.grid:
            return self.pos_embed
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        table = rest.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        factor = (side + self.scale_offset) / self.grid
        resized = F.interpolate(table, scale_factor=(factor, factor), mode="bicubic")
        return torch.cat([first, resized.flatten(2).transpose(1, 2)], dim=1)


def kept(
    content: Mapping[str, Any], *, unneeded: tuple[str, ...] = (), prefix: str = ""
) -> dict[str, Tensor]:
    """The published arrays that an embedding needs.

    Args:
        content: published state dict, perhaps with `module.` before all names, as parallel
            training leaves them; or a checkpoint that holds it under `model`, `module` or
            `state_dict`.
        unneeded: beginnings of names of arrays that other towers and heads are made of.
        prefix: taken off the names of the others.
    """
    for holder in ("model", "module", "state_dict"):
        if isinstance(content.get(holder), Mapping):
            content = content[holder]
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): value for name, value in content.items()}
    return {
        name.removeprefix(prefix): value
        for name, value in content.items()
        if not any(name.startswith(start) for start in unneeded)
    }
