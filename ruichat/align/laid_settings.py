"""Settings of what is trained and measured on laid slides, readable without torch."""

from __future__ import annotations

from pydantic import Field

from ruichat.align.training.settings import InOrder
from ruichat.config import Config, Seed


class LaidTraining(Config):
    """LoRA on dialogues that are written about laid slides."""

    seed: Seed = 0
    slides_per_step: int = Field(default=24, gt=0)
    row_tokens: int = Field(default=224, gt=0)
    rank: int = Field(default=16, gt=0)
    alpha: int = Field(default=32, gt=0)
    tile_noise: float = Field(default=0.1, ge=0)
    thoughts: float = Field(default=0.0, ge=0, le=1)
    """Share of the answers that are thought about first; the model must know thoughts."""
    plain_thoughts: bool = False
    """One wording for each step of a thought, only regions that matter; for small models."""
    loop: InOrder


class CalibrateConfig(Config):
    """How confidence is fitted, on laid slides of source groups kept apart."""

    seed: Seed = 0
    num_slides: int = Field(default=200, gt=0)
    turns: int = Field(default=4, gt=0)
