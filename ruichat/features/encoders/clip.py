"""The image half of a CLIP model: PLIP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

_OTHER_HALF = re.compile(r"text_(model|projection)\..*|logit_scale|.*\.position_ids")
"""Of the text half, or numbers that the class counts out itself."""


class TileCLIP(nn.Module):
    """CLIP's vision transformer with its projection into the space shared with text."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Projected CLS tokens of normalised pixels, not scaled to unit length."""
        return self.body(pixel_values=pixels).image_embeds


def build(
    *, width: int, depth: int, heads: int, patch_px: int, image_px: int, projection: int
) -> TileCLIP:
    """CLIP's vision transformer with random weights; activations as OpenAI's (quick GELU)."""
    from transformers.models.clip import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        patch_size=patch_px,
        image_size=image_px,
        projection_dim=projection,
        hidden_act="quick_gelu",
    )
    return TileCLIP(CLIPVisionModelWithProjection(config))


def rename(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """A whole CLIP's state dict as that of its image half."""
    return {
        f"body.{key}": value for key, value in content.items() if not _OTHER_HALF.fullmatch(key)
    }
