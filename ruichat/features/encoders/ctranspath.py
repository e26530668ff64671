"""CTransPath: Swin-T whose patches come from a small convolutional stem.

Source:
    Wang et al. 2022, doi:10.1016/j.media.2022.102559; Swin: Liu et al. 2021, arXiv:2103.14030.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ruichat.features.encoders.layers import Mlp, kept

_MASKED = -100.0
"""Added to scores between tokens that only the shift made neighbours."""


class ConvStem(nn.Module):
    """Two strided convolutions and a pointwise one: 4 x 4 pixels to a token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        eighth, quarter = dim // 8, dim // 4
        self.proj = nn.Sequential(
            nn.Conv2d(3, eighth, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(eighth),
            nn.ReLU(),
            nn.Conv2d(eighth, quarter, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(quarter),
            nn.ReLU(),
            nn.Conv2d(quarter, dim, 1),
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b r c d"]:
        """Tokens in their grid."""
        return self.norm(self.proj(pixels).permute(0, 2, 3, 1))


class WindowAttention(nn.Module):
    """Attention within windows, with a learned bias per relative position."""

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(
            torch.randn((2 * window - 1) ** 2, num_heads) * 0.02
        )

    def forward(
        self, x: Float[Tensor, "n t d"], mask: Float[Tensor, "w 1 t t"] | None
    ) -> Float[Tensor, "n t d"]:
        """Attend within each window; `mask` repeats over images."""
        index = relative_index(self.window, x.device)
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        bias = self.relative_position_bias_table[index].permute(2, 0, 1).unsqueeze(0)
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5) + bias
        if mask is not None:
            scores = (scores.unflatten(0, (-1, mask.shape[0])) + mask).flatten(0, 1)
        return self.proj((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))


class SwinBlock(nn.Module):
    """Attention in windows, shifted by `shift` tokens, then an MLP."""

    def __init__(self, dim: int, num_heads: int, *, side: int, window: int, shift: int) -> None:
        super().__init__()
        self.side, self.window, self.shift = side, window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Float[Tensor, "b r c d"]) -> Float[Tensor, "b r c d"]:
        """One block."""
        if self.shift:
            rolled = self.norm1(x).roll((-self.shift, -self.shift), (1, 2))
            mask = shift_mask(self.side, self.window, self.shift, x.device)
            x = x + self.attend(rolled, mask).roll((self.shift, self.shift), (1, 2))
        else:
            x = x + self.attend(self.norm1(x), None)
        return x + self.mlp(self.norm2(x))

    def attend(
        self, x: Float[Tensor, "b r c d"], mask: Float[Tensor, "w 1 t t"] | None
    ) -> Float[Tensor, "b r c d"]:
        """Attention within windows of the grid."""
        return from_windows(self.attn(to_windows(x, self.window), mask), self.window, self.side)


class Merge(nn.Module):
    """Two by two tokens become one of twice the width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Float[Tensor, "b r c d"]) -> Float[Tensor, "b s e f"]:
        """Order of the four: column by column."""
        four = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(four, dim=-1)))


class Stage(nn.Module):
    """Blocks of one resolution, then a merge except in the last stage."""

    def __init__(
        self, dim: int, depth: int, num_heads: int, *, side: int, window: int, merge: bool
    ) -> None:
        super().__init__()
        window = min(window, side)
        shifts = [window // 2 if i % 2 and side > window else 0 for i in range(depth)]
        self.blocks = nn.Sequential(
            *(SwinBlock(dim, num_heads, side=side, window=window, shift=shift) for shift in shifts)
        )
        self.downsample = Merge(dim) if merge else nn.Identity()

    def forward(self, x: Float[Tensor, "b r c d"]) -> Float[Tensor, "b s e f"]:
        """One stage."""
        return self.downsample(self.blocks(x))


class CTransPath(nn.Module):
    """Stem, four stages, norm, mean over tokens."""

    def __init__(
        self, *, dim: int, depths: tuple[int, ...], heads: tuple[int, ...], side: int, window: int
    ) -> None:
        super().__init__()
        self.patch_embed = ConvStem(dim)
        last = len(depths) - 1
        self.layers = nn.Sequential(
            *(
                Stage(dim * 2**i, depth, heads[i], side=side // 2**i, window=window, merge=i < last)
                for i, depth in enumerate(depths)
            )
        )
        self.norm = nn.LayerNorm(dim * 2**last)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Embeddings of normalised tiles."""
        return self.norm(self.layers(self.patch_embed(pixels))).mean(dim=(1, 2))


def relative_index(window: int, device: torch.device) -> Int64[Tensor, "t t"]:
    """Row of the bias table for each pair of tokens in a window."""
    steps = torch.arange(window, device=device)
    row, column = (axis.flatten() for axis in torch.meshgrid(steps, steps, indexing="ij"))
    rows = row[:, None] - row[None, :] + window - 1
    columns = column[:, None] - column[None, :] + window - 1
    return rows * (2 * window - 1) + columns


def shift_mask(
    side: int, window: int, shift: int, device: torch.device
) -> Float[Tensor, "w 1 t t"]:
    """What keeps tokens apart that lie in one window only because the grid was rolled."""
    steps = torch.arange(side, device=device)
    band = (steps >= side - window).long() + (steps >= side - shift).long()
    regions = (3 * band[:, None] + band[None, :])[None, :, :, None]
    region = to_windows(regions, window)[..., 0]
    apart = region[:, :, None] != region[:, None, :]
    return (apart * _MASKED)[:, None]


def to_windows(x: Tensor, window: int) -> Tensor:
    """[b,r,c,d] to [b windows, tokens, d], windows row by row."""
    batch, side, _, width = x.shape
    cut = x.reshape(batch, side // window, window, side // window, window, width)
    return cut.transpose(2, 3).reshape(-1, window * window, width)


def from_windows(x: Float[Tensor, "n t d"], window: int, side: int) -> Float[Tensor, "b r c d"]:
    """Undo `to_windows`."""
    count = side // window
    cut = x.reshape(-1, count, count, window, window, x.shape[2])
    return cut.transpose(2, 3).reshape(-1, side, side, x.shape[2])


def build(
    *, dim: int = 96, depths: str = "2,2,6,2", heads: str = "3,6,12,24", side: int = 56,
    window: int = 7,
) -> CTransPath:  # fmt: skip
    """CTransPath for 224 px; `side` is the number of tokens per side after the stem."""
    return CTransPath(
        dim=dim,
        depths=tuple(int(depth) for depth in depths.split(",")),
        heads=tuple(int(count) for count in heads.split(",")),
        side=side,
        window=window,
    )


def rename(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The published state dict to that of `build`.

    Tables that follow from the shape alone (masks of shifted windows, relative positions) and
    the classifier are left out.
    """
    derived = ("attn_mask", "relative_position_index")
    return {
        key: value
        for key, value in kept(state, unneeded=("head.",)).items()
        if key.rpartition(".")[2] not in derived
    }
