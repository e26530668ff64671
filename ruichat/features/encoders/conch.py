"""CONCH and CONCH v1.5: a ViT whose tokens one learned query pools.

Source:
    Lu et al. 2024, doi:10.1038/s41591-024-02856-4 (CONCH); Ding et al. 2024, arXiv:2411.19666
    (CONCH v1.5). Pooling: Yu et al. 2022, arXiv:2205.01917.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ruichat.features.encoders.layers import ViT, kept

_POOL_HEADS = 8


class QueryPool(nn.Module):
    """Learned queries attend over tokens of another width.

    Parameters are those of torch.nn.MultiheadAttention with `kdim` and `vdim`.
    """

    def __init__(self, dim: int, context_dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, dim))
        self.attn = nn.MultiheadAttention(
            dim, _POOL_HEADS, kdim=context_dim, vdim=context_dim, batch_first=True
        )
        self.ln_q = nn.LayerNorm(dim)
        self.ln_k = nn.LayerNorm(context_dim)

    def forward(self, tokens: Float[Tensor, "b t c"]) -> Float[Tensor, "b d"]:
        """One vector per image."""
        query = self.ln_q(self.query).expand(tokens.shape[0], 1, -1)
        context = self.ln_k(tokens)
        return self.attn(query, context, context, need_weights=False)[0][:, 0]


class PlainQueryPool(nn.Module):
    """The same with one projection for key and value, and no biases."""

    def __init__(self, dim: int, context_dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, dim))
        self.ln_k = nn.LayerNorm(context_dim)
        self.ln_q = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(context_dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def forward(self, tokens: Float[Tensor, "b t c"]) -> Float[Tensor, "b d"]:
        """One vector per image."""
        key, value = self.to_kv(self.ln_k(tokens)).chunk(2, dim=-1)
        query = self.to_q(self.ln_q(self.query)).expand(tokens.shape[0], 1, -1)
        mixed = F.scaled_dot_product_attention(_heads(query), _heads(key), _heads(value))
        return self.to_out(mixed.transpose(1, 2).flatten(2))[:, 0]


def _heads(x: Float[Tensor, "b t d"]) -> Float[Tensor, "b h t e"]:
    return x.unflatten(2, (_POOL_HEADS, -1)).transpose(1, 2)


class PooledViT(nn.Module):
    """Trunk, query pool, norm: the embedding before the projection onto the space of texts."""

    def __init__(self, trunk: ViT, pool: nn.Module, dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.attn_pool_contrast = pool
        self.ln_contrast = nn.LayerNorm(dim)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Embeddings of normalised tiles."""
        return self.ln_contrast(self.attn_pool_contrast(self.trunk(pixels)))


def build(
    *, width: int = 768, depth: int = 12, num_heads: int = 12, dim: int = 512, grid: int = 28
) -> PooledViT:
    """CONCH's image tower: ViT-B/16 for 448 px."""
    trunk = ViT(dim=width, depth=depth, num_heads=num_heads, grid=grid)
    return PooledViT(trunk, QueryPool(dim, width), dim)


def rename(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """CONCH's published state dict to that of `build`.

    The towers of text, the pool for captions and the projection onto the space of texts have no
    part in the embedding.
    """
    image = tuple(f"visual.{name}" for name in ("attn_pool_caption", "ln_caption", "proj_contrast"))
    text = ("text.", "text_decoder.", "logit_scale")
    return kept(state, unneeded=image + text, prefix="visual.")


def build_v15(
    *, width: int = 1024, depth: int = 24, num_heads: int = 16, dim: int = 768, grid: int = 14
) -> PooledViT:
    """CONCH v1.5: ViT-L/16, positions of 224 px resized to those of the tile."""
    trunk = ViT(
        dim=width,
        depth=depth,
        num_heads=num_heads,
        grid=grid,
        layer_scale=True,
        scale_offset=0.1,
    )
    return PooledViT(trunk, PlainQueryPool(dim, width), dim)


def rename_v15(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """CONCH v1.5's published state dict to that of `build_v15`: the names are the same."""
    return kept(state)
