"""Prov-GigaPath's slide encoder: a LongNet, whose attention is dilated, over all tiles.

Source:
    Xu et al. 2024, doi:10.1038/s41586-024-07441-w; dilated attention: Ding et al. 2023,
    arXiv:2307.02486; positions: He et al. 2021, arXiv:2111.06377.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ruichat.errors import InputError
from ruichat.features.encoders.layers import kept
from ruichat.features.encoders.subnorm import SubNormAttention, SubNormLayer

_SCORE_ELEMENTS = {"cpu": 2**20, "cuda": 2**26}
"""Of one block of scores: 4 MiB stay in a processor's cache, 256 MiB keep a GPU busy."""

Heads = Float[Tensor, "n h e"]


def dilated_attention(
    query: Heads, key: Heads, value: Heads, *, segments: list[int], ratios: list[int]
) -> Heads:
    """Attention at several reaches, the coarser the farther.

    Branch i cuts the sequence into segments of `segments[i]` tokens and looks at every
    `ratios[i]`-th token within each; heads start at different tokens. A token's results from the
    branches that hold it are weighted by their softmax denominators, as if one softmax had been
    taken over all.

    Args:
        query: of one sequence, per head.
        key: the same.
        value: the same.
        segments: tokens per segment, at most the whole sequence.
        ratios: dilation of each branch; the first is 1, so that every token has a result.
    """
    assert ratios[0] == 1, "some token would have no result"
    mixed, total = attend_branch(query, key, value, segments[0], 1)
    for segment, ratio in zip(segments[1:], ratios[1:], strict=True):
        other, log_sum = attend_branch(query, key, value, segment, ratio)
        both = torch.logaddexp(total, log_sum)
        mixed = mixed * (total - both).exp()[..., None]
        mixed = mixed + other * (log_sum - both).exp()[..., None]
        total = both
    return mixed


def attend_branch(
    query: Heads, key: Heads, value: Heads, segment: int, ratio: int
) -> tuple[Heads, Float[Tensor, "n h"]]:
    """One branch: results, and the logarithm of each softmax denominator.

    Sequences are filled up with zeros to whole segments and whole steps; the filling counts as
    keys, as it did when the published weights were trained. Tokens that a head leaves out have a
    result of zero and a logarithm of minus infinity.
    """
    length, num_heads, _ = query.shape
    segment = min(segment, length)
    group = -(-num_heads // ratio)
    mixed = torch.zeros_like(value)
    log_sum = query.new_full((length, num_heads), -torch.inf)
    for begin in range(0, length, segment):
        end = min(begin + segment, length)
        for i in range(min(-(-num_heads // group), end - begin)):
            at = slice(begin + i, end, ratio), slice(i * group, (i + 1) * group)
            mixed[at], log_sum[at] = _attend(query[at], key[at], value[at], -(-segment // ratio))
    return mixed, log_sum


def _attend(
    query: Heads, key: Heads, value: Heads, num_keys: int
) -> tuple[Heads, Float[Tensor, "n h"]]:
    """Softmax attention with the logarithms of its denominators, in blocks of queries.

    Args:
        num_keys: keys that are missing up to this number are zeros.
    """
    query = query.transpose(0, 1) * query.shape[-1] ** -0.5
    zeros = num_keys - len(key)
    key, value = key.permute(1, 2, 0), value.transpose(0, 1)
    most = _SCORE_ELEMENTS.get(query.device.type, _SCORE_ELEMENTS["cpu"])
    rows = max(1, most // (len(query) * key.shape[2]))
    mixed, log_sum = [], []
    for block in query.split(rows, dim=1):
        scores = block @ key
        top = scores.amax(dim=2, keepdim=True)
        top = top.clamp(min=0) if zeros else top
        total = scores.sub_(top).exp_().sum(dim=2, keepdim=True) + zeros * (-top).exp()
        mixed.append((scores @ value) / total)
        log_sum.append((total.log() + top)[..., 0])
    return torch.cat(mixed, dim=1).transpose(0, 1), torch.cat(log_sum, dim=1).T


class DilatedAttention(SubNormAttention):
    """Self-attention of LongNet."""

    def __init__(self, dim: int, num_heads: int, segments: list[int], ratios: list[int]) -> None:
        super().__init__(dim, num_heads)
        self.segments, self.ratios = segments, ratios

    def mix(self, x: Float[Tensor, "1 t d"]) -> Float[Tensor, "1 t h e"]:
        """Attend at several reaches."""
        query, key, value = (part[0] for part in self.split(x))
        mixed = dilated_attention(query, key, value, segments=self.segments, ratios=self.ratios)
        return mixed[None]


class LongNetViT(nn.Module):
    """Tiles with their positions through a LongNet; the mean over tiles is the embedding.

    Args:
        tile_dim: width of the tiles' embeddings.
        side: cells per side of the grid that positions are told apart in.
    """

    def __init__(
        self,
        *,
        tile_dim: int,
        dim: int,
        depth: int,
        num_heads: int,
        side: int,
        segments: list[int],
        ratios: list[int],
    ) -> None:
        super().__init__()
        self.side = side
        self.patch_embed = nn.ModuleDict({"proj": nn.Linear(tile_dim, dim)})
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.layers = nn.Sequential(
            *(
                SubNormLayer(dim, 4 * dim, DilatedAttention(dim, num_heads, segments, ratios))
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(
        self, embeddings: Float[Tensor, "n d"], cells: Int64[Tensor, "n 2"]
    ) -> Float[Tensor, " e"]:
        """The slide's embedding.

        Tiles are taken column by column, the order of the published table of positions: what
        dilated attention sees depends on the order.

        Raises:
            InputError: the slide is larger than the grid.
        """
        if int(cells.max()) >= self.side or int(cells.min()) < 0:
            raise InputError(
                f"tiles lie up to {int(cells.max())} tiles from the slide's corner; positions end "
                f"at {self.side}",
                hint="Pool a smaller region of the slide",
            )
        order = (cells[:, 0] * self.side + cells[:, 1]).argsort(stable=True)
        tokens = self.patch_embed["proj"](embeddings[order])
        tokens = tokens + grid_positions(cells[order], tokens.shape[1]).to(tokens)
        tokens = self.layers(torch.cat([self.cls_token, tokens[None]], dim=1))
        return self.norm(tokens[0, 1:].mean(dim=0))


def grid_positions(cells: Int64[Tensor, "n 2"], dim: int) -> Float[Tensor, "n d"]:
    """Sines and cosines of rows in the first half, of columns in the second.

    Source:
        He et al. 2021, arXiv:2111.06377, computed where tiles are, not as a table.
    """
    steps = torch.arange(dim // 4, dtype=torch.float64, device=cells.device)
    rates = 10000.0 ** -(steps / (dim // 4))
    angles = cells.flip(1)[..., None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)


def build(
    *,
    tile_dim: int = 1536,
    dim: int = 768,
    depth: int = 12,
    num_heads: int = 16,
    side: int = 1000,
    segments: str = "1024,5792,32768,185363,1048576",
    ratios: str = "1,2,4,8,16",
) -> LongNetViT:
    """Prov-GigaPath's slide encoder.

    Segments grow geometrically from 1024 tiles to the 2**20 of a slide of 262,144 px a side.
    """
    return LongNetViT(
        tile_dim=tile_dim,
        dim=dim,
        depth=depth,
        num_heads=num_heads,
        side=side,
        segments=[int(segment) for segment in segments.split(",")],
        ratios=[int(ratio) for ratio in ratios.split(",")],
    )


def rename(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The published state dict to that of `build`.

    The norm behind the last layer is passed over by the published embedding, the position table
    follows from its shape, and the decoder served training only.
    """
    unneeded = ("encoder.layer_norm.", "pos_embed", "decoder", "mask_token")
    return kept(state, unneeded=unneeded, prefix="encoder.")
