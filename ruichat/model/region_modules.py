"""The trained way of a region into the language model and, as a citation, out of it.

Trained here in torch; `region_state` does the same arithmetic in NumPy for answering.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ruichat.model.configuration import RuiChatConfig
from ruichat.model.weights import gate_width


class TileGate(nn.Module):
    """How much each tile counts within its region, per group of channels."""

    def __init__(self, config: RuiChatConfig) -> None:
        super().__init__()
        hidden = gate_width(config.bag_dim)
        self.content = nn.Linear(config.bag_dim, hidden)
        self.switch = nn.Linear(config.bag_dim, hidden)
        self.score = nn.Linear(hidden, config.pool_heads, bias=False)

    def forward(self, tiles: Float[Tensor, "m d"]) -> Float[Tensor, "m h"]:
        """Unnormalised scores."""
        return self.score(torch.tanh(self.content(tiles)) * torch.sigmoid(self.switch(tiles)))


class DepthProjector(nn.Module):
    """Tiles at one depth of the encoder, on their way to a deeper layer of the language model.

    Args:
        config: widths and projector.
        depth: which block of an embedding is read.
    """

    def __init__(self, config: RuiChatConfig, depth: int) -> None:
        super().__init__()
        width, block = config.text_config.hidden_size, config.bag_dim // config.depths
        self.channels = slice(depth * block, (depth + 1) * block)
        self.tile_norm = nn.LayerNorm(block)
        self.projector = _projector(config.projector, block, width)
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(
        self, tiles: Float[Tensor, "m d"], pool: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "b k e"]:
        """Vectors of the regions behind their gate, zero until it has learned to open.

        All in one call: FSDP2 gathers weights that it has divided around calls alone.

        Args:
            tiles: embeddings.
            pool: takes what tiles add to their regions to the regions.
        """
        added = self.projector(self.tile_norm(tiles[:, self.channels]))
        return self.norm(pool(added)) * self.gate


class RegionEncoder(nn.Module):
    """Tile embeddings and geometry to one vector per region, as large as a word's embedding.

    Tiles are projected to the LM's width, averaged within their region with learned weights, and
    joined by what geometry says.

    Args:
        config: widths, projector and pooling.

    Source:
        Gated attention: Ilse et al. 2018, arXiv:1802.04712. Ours: the softmax runs within each
        region, one weight per group of channels, and starts as the mean.
    """

    scale: Tensor

    def __init__(self, config: RuiChatConfig) -> None:
        super().__init__()
        width = config.text_config.hidden_size
        num = len(config.inject_layers)
        self.injected = nn.ModuleList(
            DepthProjector(config, i if config.depths > 1 else 0) for i in range(num)
        )
        self.num_heads = config.pool_heads
        self.tile_norm = nn.LayerNorm(config.bag_dim)
        self.projector = _projector(config.projector, config.bag_dim, width)
        self.gate = TileGate(config) if config.pool == "attention" else None
        self.geometry = nn.Sequential(
            nn.Linear(config.geometry_dim, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.norm = nn.LayerNorm(width)
        self.register_buffer("scale", torch.tensor(config.initializer_range))

    def forward(
        self,
        tile_embeddings: Float[Tensor, "b n d"],
        tile_region: Int[Tensor, "b n"],
        region_geometry: Float[Tensor, "b k g"],
    ) -> Float[Tensor, "b k w"]:
        """One vector per region; those of regions without tiles hold geometry only.

        Behind the vector that is added to a name's embedding (the first e of w) follow those that
        are added before deeper layers, e for each of them.
        """
        b, k = region_geometry.shape[:2]
        used = tile_region >= 0
        offset = torch.arange(b, device=tile_region.device)[:, None] * k
        segment = (tile_region + offset)[used]
        raw = tile_embeddings[used].to(self.norm.weight.dtype)
        tiles = self.tile_norm(raw)
        weight = self._weights(tiles, segment, b * k)

        def pool(values: Tensor) -> Tensor:
            return self._pool(values, weight, segment, b * k).view(b, k, -1)

        pooled = pool(self.projector(tiles))
        # Millimetres grow with the slide; asinh keeps small values and compresses large ones.
        where = self.geometry(torch.asinh(region_geometry.to(pooled.dtype)))
        embeds = [self.norm(pooled + where) * self.scale]
        embeds += [depth(raw, pool) for depth in self.injected]
        return torch.cat(embeds, dim=-1)

    def _weights(
        self, tiles: Float[Tensor, "m d"], segment: Int[Tensor, " m"], num: int
    ) -> Float[Tensor, "m h"]:
        """Share of each tile in its region, per group of channels; never in half precision."""
        if self.gate is None:
            score = tiles.new_zeros(len(tiles), self.num_heads)
        else:
            score = self.gate(tiles)
        # bfloat16 can't count beyond 256, and autocast takes exponentials to float32 on CUDA.
        score = score.to(torch.promote_types(score.dtype, torch.float32))
        index = segment[:, None].expand_as(score)
        top = score.new_full((num, self.num_heads), float("-inf"))
        top = top.scatter_reduce(0, index, score.detach(), "amax")
        weight = torch.exp(score - top[segment])
        total = weight.new_zeros(num, self.num_heads).index_add(0, segment, weight)
        return weight / total[segment]

    def _pool(
        self,
        values: Float[Tensor, "m e"],
        weight: Float[Tensor, "m h"],
        segment: Int[Tensor, " m"],
        num: int,
    ) -> Float[Tensor, "s e"]:
        heads = (values.unflatten(-1, (self.num_heads, -1)) * weight[..., None]).flatten(-2)
        total = heads.new_zeros(num, heads.shape[-1]).index_add(0, segment, heads)
        return total.to(values.dtype)


def _projector(kind: str, bag_dim: int, width: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(bag_dim, width)
    return nn.Sequential(nn.Linear(bag_dim, width), nn.SiLU(), nn.Linear(width, width))


class RegionPointer(nn.Module):
    """How well each region fits as the next word.

    Source:
        Pointer networks, Vinyals et al. 2015, arXiv:1506.03134. Ours: dot product, added to the
        logits of the regions' names.
    """

    def __init__(self, config: RuiChatConfig) -> None:
        super().__init__()
        width = config.text_config.hidden_size
        self.query = nn.Linear(width, config.pointer_dim, bias=False)
        self.key = nn.Linear(width, config.pointer_dim, bias=False)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(
        self, hidden: Float[Tensor, "b t e"], region_embeds: Float[Tensor, "b k e"]
    ) -> Float[Tensor, "b t k"]:
        """Score of each region at each position."""
        # Region vectors are as small as word embeddings; keys need them at unit size.
        regions = functional.layer_norm(region_embeds, region_embeds.shape[-1:])
        dtype = self.query.weight.dtype
        query, key = self.query(hidden.to(dtype)), self.key(regions.to(dtype))
        return query @ key.transpose(1, 2) * (self.scale * query.shape[-1] ** -0.5)


def has_tiles(tile_region: Int[Tensor, "b n"], num_regions: int) -> Bool[Tensor, "b k"]:
    """Which of the padded regions hold a tile."""
    hit = tile_region.new_zeros(len(tile_region), num_regions + 1)
    # Padding, -1, lands in a last column that is cut off.
    index = torch.where(tile_region < 0, num_regions, tile_region)
    return hit.scatter(1, index, 1)[:, :num_regions].bool()
