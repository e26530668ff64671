"""What every stage is told: its model, its data, its training."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from ruichat.align.dialogue_batches import BatchConfig
from ruichat.align.loop import LoopConfig
from ruichat.config import Config
from ruichat.truth.datasets.prepare import DataConfig

Precision = Literal["auto", "float32", "bfloat16"]


class LanguageModelSource(Config):
    """A causal language model of transformers; code of its makers is never run."""

    name: str = Field(min_length=1)
    """Folder, or repository on the hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    download: bool = False
    """Fetch it where it isn't here yet."""
    quantise: Literal["none", "4bit"] = "none"
    """4bit keeps its matrices as NF4; needs bitsandbytes and a GPU."""
    dtype: Precision = "auto"
    """Of its weights; as they were saved if auto."""
    attention: str | None = None
    """Of transformers, for example flash_attention_2; its own choice if missing."""

    @property
    def torch_dtype(self) -> torch.dtype | Literal["auto"]:
        """As torch calls it."""
        return "auto" if self.dtype == "auto" else getattr(torch, self.dtype)


class Training(LoopConfig):
    """As `LoopConfig`, with steps as many as the epochs take."""

    steps: int = Field(default=0, ge=0)
    """Most steps; 0 for all of the epochs."""
    learning_rate: float = Field(default=1e-3, gt=0)
    checkpoint_every: int = Field(default=100, gt=0)
    log_every: int = Field(default=10, gt=0)
    workers: int = Field(default=2, ge=0)

    def for_steps(self, steps: int) -> LoopConfig:
        """The loop's settings for as many steps as the data gives, at least three."""
        wanted = min(steps, self.steps) if self.steps else steps
        return LoopConfig.model_validate(self.model_dump() | {"steps": max(wanted, 3)})


class BagReading(Config):
    """What files of other tools don't state."""

    mpp: float | None = Field(default=None, gt=0)
    """Micrometres per level-0 pixel."""
    tile_mpp: float | None = Field(default=None, gt=0)
    """Resolution at which tiles were read."""


class StageConfig(Config):
    """Settings that stages on dialogues have in common."""

    name: str = Field(min_length=1)
    """Of the checkpoint; recorded with every answer."""
    seed: int = 0
    data: DataConfig
    bags: BagReading = BagReading()
    batches: BatchConfig = BatchConfig()
    training: Training = Training()
