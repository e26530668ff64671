"""Transformer layers with norms inside their parts, as in torchscale's encoders.

Source:
    Wang et al. 2022, arXiv:2210.06423. Parameters are named as in torchscale.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class SubNormAttention(nn.Module):
    """Self-attention with a norm before the output projection."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.inner_attn_ln = nn.LayerNorm(dim)
        self.out_proj = nn.Linear(dim, dim)

    def split(self, x: Float[Tensor, "b t d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each [b,t,h,d/h]."""
        size = (self.num_heads, -1)
        query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        return query.unflatten(2, size), key.unflatten(2, size), value.unflatten(2, size)

    def mix(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t h e"]:
        """Attend over all tokens."""
        query, key, value = (part.transpose(1, 2) for part in self.split(x))
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Attention, norm, projection."""
        return self.out_proj(self.inner_attn_ln(self.mix(x).flatten(2)))


class SubNormMlp(nn.Module):
    """Two layers with GELU and a norm between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.ffn_layernorm = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Token by token."""
        return self.fc2(self.ffn_layernorm(F.gelu(self.fc1(x))))


class SubNormLayer(nn.Module):
    """Pre-norm transformer layer with norms inside its parts."""

    def __init__(self, dim: int, hidden: int, attention: SubNormAttention) -> None:
        super().__init__()
        self.self_attn = attention
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.ffn = SubNormMlp(dim, hidden)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """One layer."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.ffn(self.final_layer_norm(x))
