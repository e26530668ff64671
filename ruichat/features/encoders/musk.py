"""MUSK: the image way of a BEiT-3 large, optionally at two scales.

Source:
    Xiang et al. 2025, doi:10.1038/s41586-024-08378-w; BEiT-3: Wang et al. 2022,
    arXiv:2208.10442; two scales: Shi et al. 2024, arXiv:2403.13043.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ruichat.features.encoders.layers import kept
from ruichat.features.encoders.subnorm import SubNormAttention, SubNormLayer

_FIRST_POSITION = 2
"""The first two rows of the position table are never used, as in Fairseq."""

_NOT_OF_IMAGES = (
    "beit3.text_embed.",
    "beit3.vision_embed.mask_token",
    "language_head.",
    "vision_head.",
    "logit_scale",
)


class Musk(nn.Module):
    """Image tokens through the image way; the class token is the embedding.

    Args:
        two_scales: append the mean embedding of the four quarters of the tile at twice its size.
    """

    def __init__(
        self, *, dim: int, depth: int, num_heads: int, grid: int, patch_px: int, two_scales: bool
    ) -> None:
        super().__init__()
        self.two_scales = two_scales
        self.proj = nn.Conv2d(3, dim, patch_px, stride=patch_px)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.embed_positions = nn.Parameter(
            torch.randn(_FIRST_POSITION + 1 + grid * grid, dim) * 0.02
        )
        self.layers = nn.Sequential(
            *(SubNormLayer(dim, 4 * dim, SubNormAttention(dim, num_heads)) for _ in range(depth))
        )
        self.layer_norm = nn.LayerNorm(dim)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Embeddings of normalised tiles."""
        whole = self.embed(pixels)
        if not self.two_scales:
            return whole
        side = int(pixels.shape[2])
        large = F.interpolate(pixels, size=(2 * side, 2 * side), mode="bicubic")
        quarters = [
            self.embed(large[:, :, top : top + side, left : left + side])
            for top in (0, side)
            for left in (0, side)
        ]
        return torch.cat([whole, torch.stack(quarters).mean(dim=0)], dim=1)

    def embed(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Class token at one scale."""
        patches = self.proj(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        tokens = tokens + self.embed_positions[_FIRST_POSITION:]
        return self.layer_norm(self.layers(tokens)[:, 0])


def build(
    *,
    dim: int = 1024,
    depth: int = 24,
    num_heads: int = 16,
    grid: int = 24,
    patch_px: int = 16,
    two_scales: bool = False,
) -> Musk:
    """MUSK's image way: 384 px, patches of 16."""
    return Musk(
        dim=dim,
        depth=depth,
        num_heads=num_heads,
        grid=grid,
        patch_px=patch_px,
        two_scales=two_scales,
    )


def rename(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The published state dict to that of `build`.

    Each part exists twice, `A` for images and `B` for text; only `A` is taken. Mask token, text
    table, heads for retrieval and the temperature have no part in the embedding.
    """
    placed: dict[str, Tensor] = {}
    for key, value in kept(state, unneeded=_NOT_OF_IMAGES, prefix="beit3.").items():
        parts = key.split(".")
        if "B" in parts:
            continue
        name = ".".join(part for part in parts if part != "A")
        name = name.removeprefix("vision_embed.").removeprefix("encoder.")
        placed["embed_positions" if name == "embed_positions.weight" else name] = value
    return placed
