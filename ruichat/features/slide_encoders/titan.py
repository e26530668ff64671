"""TITAN: a vision transformer whose tokens are the tiles of a slide, in their grid.

Source:
    Ding et al. 2024, arXiv:2411.19666; distances as biases: Press et al. 2021,
    arXiv:2108.12409, here in two dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ruichat.features.encoders.conch import QueryPool
from ruichat.features.encoders.layers import Mlp, Projections, kept

_BIAS_ELEMENTS = 2**25
"""Of one block of biases, 128 MiB: tens of thousands of tiles would need tens of GB at once."""


def alibi_slopes(num_heads: int) -> list[float]:
    """How fast attention of each head falls with distance.

    A geometric series for powers of two; other numbers of heads take every second slope of the
    next power of two for the rest.
    """
    if num_heads & (num_heads - 1) == 0:
        return [2 ** (-8 * (i + 1) / num_heads) for i in range(num_heads)]
    below = 2 ** math.floor(math.log2(num_heads))
    return alibi_slopes(below) + alibi_slopes(2 * below)[::2][: num_heads - below]


class AlibiAttention(Projections):
    """Self-attention that falls with the distance of tiles, not of the class token."""

    def forward(
        self, x: Float[Tensor, "1 t d"], cells: Float[Tensor, "n 2"]
    ) -> Float[Tensor, "1 t d"]:
        """Attend, a block of queries at a time."""
        query, key, value = self.split(x)
        rows = max(1, _BIAS_ELEMENTS // (self.num_heads * x.shape[1]))
        mixed = [
            F.scaled_dot_product_attention(
                query[:, :, start : start + rows],
                key,
                value,
                attn_mask=self.bias(cells, start, min(start + rows, x.shape[1])).to(x.dtype),
            )
            for start in range(0, x.shape[1], rows)
        ]
        return self.proj(torch.cat(mixed, dim=2).transpose(1, 2).flatten(2))

    def bias(self, cells: Float[Tensor, "n 2"], start: int, stop: int) -> Float[Tensor, "1 h q t"]:
        """Biases of tokens `start` to `stop` against all; token 0 is the class token."""
        first = max(start, 1)
        away = torch.cdist(
            cells[first - 1 : stop - 1], cells, compute_mode="donot_use_mm_for_euclid_dist"
        )
        away = F.pad(away, (1, 0, first - start, 0))
        slopes = torch.tensor(alibi_slopes(self.num_heads), device=cells.device)
        return -(slopes[:, None, None] * away)[None]


class TitanBlock(nn.Module):
    """Pre-norm transformer block with biased attention."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = AlibiAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(
        self, x: Float[Tensor, "1 t d"], cells: Float[Tensor, "n 2"]
    ) -> Float[Tensor, "1 t d"]:
        """One block."""
        x = x + self.attn(self.norm1(x), cells)
        return x + self.mlp(self.norm2(x))


class Titan(nn.Module):
    """Tiles to tokens, transformer, query pool: the slide embedding before its projection."""

    def __init__(self, *, dim: int, depth: int, num_heads: int) -> None:
        super().__init__()
        self.patch_embed = nn.Sequential(nn.Linear(dim, dim), nn.GELU())
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.blocks = nn.ModuleList(TitanBlock(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.attn_pool_contrastive = QueryPool(dim, dim)

    def forward(
        self, embeddings: Float[Tensor, "n d"], cells: Int64[Tensor, "n 2"]
    ) -> Float[Tensor, " d"]:
        """The slide's embedding."""
        embeddings, places = one_per_cell(embeddings, cells)
        tokens = torch.cat([self.cls_token, self.patch_embed(embeddings)[None]], dim=1)
        for block in self.blocks:
            tokens = block(tokens, places)
        return self.attn_pool_contrastive(self.norm(tokens))[0]


def one_per_cell(
    embeddings: Float[Tensor, "n d"], cells: Int64[Tensor, "n 2"]
) -> tuple[Float[Tensor, "m d"], Float[Tensor, "m 2"]]:
    """Sums over tiles that share a cell of the grid, as TITAN's authors do, and the cells."""
    places, where = torch.unique(cells, dim=0, return_inverse=True)
    summed = embeddings.new_zeros(len(places), embeddings.shape[1])
    return summed.index_add(0, where, embeddings), places.to(embeddings.dtype)


def build(*, dim: int = 768, depth: int = 6, num_heads: int = 12) -> Titan:
    """TITAN's slide encoder."""
    return Titan(dim=dim, depth=depth, num_heads=num_heads)


def rename(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The published state dict to that of `build`.

    The towers of text, the pool for captions and the projection onto the space of texts have no
    part in the embedding.
    """
    unneeded = (
        "vision_encoder.attn_pool.",
        "vision_encoder.proj",
        "text_encoder.",
        "text_decoder.",
        "logit_scale",
    )
    found = kept(state, unneeded=unneeded, prefix="vision_encoder.")
    return {key.replace("blocks.modules_list.", "blocks."): value for key, value in found.items()}
