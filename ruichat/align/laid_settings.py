"""Settings of what is trained and measured on laid slides, readable without torch."""

from __future__ import annotations

from pydantic import Field

from ruichat.align.training.settings import LoopConfig
from ruichat.config import Config


class LaidTraining(Config):
    """LoRA on dialogues that are written about laid slides."""

    seed: int = 0
    slides_per_step: int = 24
    row_tokens: int = 224
    rank: int = 16
    alpha: int = 32
    tile_noise: float = 0.1
    thoughts: float = Field(default=0.0, ge=0, le=1)
    """Share of the answers that are thought about first; the model must know thoughts."""
    plain_thoughts: bool = False
    """One wording for each step of a thought, only regions that matter; for small models."""
    loop: LoopConfig


class CalibrateConfig(Config):
    """How confidence is fitted, on laid slides of source groups kept apart."""

    seed: int = 0
    num_slides: int = 200
    turns: int = 4
