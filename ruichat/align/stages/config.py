"""What stages on dialogues are told: model, data, training; readable without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from ruichat.align.data.packing import BatchConfig
from ruichat.align.training.settings import LoopConfig
from ruichat.config import Config, Seed
from ruichat.features.foreign.given import BagReading
from ruichat.model.base import Quantise
from ruichat.model.choices import ModelChoices
from ruichat.truth.datasets.prepare import DataConfig

if TYPE_CHECKING:
    import torch

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
        import torch

        return "auto" if self.dtype == "auto" else getattr(torch, self.dtype)


class Training(LoopConfig):
    """As `LoopConfig`, with steps as many as the epochs take."""

    steps: int = Field(default=0, ge=0)
    """Most steps, at least three; 0 for all of the epochs."""
    learning_rate: float = Field(default=1e-3, gt=0)
    checkpoint_every: int = Field(default=100, gt=0)
    log_every: int = Field(default=10, gt=0)
    workers: int = Field(default=2, ge=0)

    @field_validator("steps")
    @classmethod
    def _rises_and_falls(cls, steps: int) -> int:
        if steps in (1, 2):
            raise ValueError(f"steps is {steps}; allowed: 0, or at least 3")
        return steps

    def for_steps(self, steps: int) -> LoopConfig:
        """The loop's settings for as many steps as the data gives; three if they are fewer."""
        wanted = min(steps, self.steps) if self.steps else steps
        return LoopConfig.model_validate(self.model_dump() | {"steps": max(wanted, 3)})


class StageConfig(Config):
    """Settings that stages on dialogues have in common."""

    name: str = Field(min_length=1)
    """Of the checkpoint; recorded with every answer."""
    seed: Seed = 0
    data: DataConfig
    bags: BagReading = BagReading()
    batches: BatchConfig = BatchConfig()
    training: Training = Training()


class AlignConfig(StageConfig):
    """Settings of the alignment stage."""

    language_model: LanguageModelSource
    model: ModelChoices
    """Encoder, projector, pooling; depths and layers of cross-layer alignment."""
    contrastive: float = Field(default=0.0, ge=0)
    """Weight of the contrastive loss between slides and words; 0 leaves it out."""

    @model_validator(mode="after")
    def _reads_its_rows(self) -> AlignConfig:
        flash = "flash" in (self.language_model.attention or "")
        budget = self.batches.budget
        if flash and budget.row_tokens not in (0, budget.tokens):
            raise ValueError(
                f"flash attention reads shared rows one at a time: budget.row_tokens is "
                f"{budget.row_tokens}; allowed: 0, or budget.tokens ({budget.tokens})"
            )
        return self


class LoraOptions(Config):
    """The adapter."""

    rank: int = Field(default=64, gt=0)
    alpha: int = Field(default=128, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    dora: bool = False
    """Weights' lengths apart from their directions (Liu et al. 2024, arXiv:2402.09353)."""


class InstructConfig(StageConfig):
    """Settings of the instruction stage."""

    base: str
    """Folder of the checkpoint that `align` wrote, from where the command is run; or that this
    stage wrote, or mini, whose adapter then learns on."""
    quantise: Quantise = "none"
    """4bit keeps the matrices of a language model that the checkpoint refers to as NF4 while the
    adapter learns; needs bitsandbytes and a GPU."""
    lora: LoraOptions = LoraOptions()
    projector_rate: float = Field(default=1e-4, gt=0)
    """Highest rate of what isn't the adapter."""
