"""What is chosen about the parts around a language model, readable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ruichat.config import Config
from ruichat.model import vocabulary as v


class ModelChoices(Config):
    """What is chosen about the parts around a language model."""

    encoder: str
    """Name of the encoder whose bags are read."""
    bag_dim: int = Field(gt=0)
    """Width of its embeddings; with several depths, of all of them together."""
    projector: Literal["linear", "mlp"] = "mlp"
    pool: Literal["attention", "mean"] = "attention"
    pool_heads: int = Field(default=4, gt=0)
    pointer_dim: int = Field(default=64, gt=0)
    max_regions: int = Field(default=32, gt=0, le=v.NUM_REGION_IDS)
    depths: int = Field(default=1, gt=0)
    """Blocks of an embedding, one per encoder depth, shallow first."""
    inject_layers: tuple[int, ...] = ()
    """Layers of the language model before which regions are added again; see `RuiChatConfig`."""
