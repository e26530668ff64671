"""Settings of reinforcement learning, readable without TRL."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ruichat.align.think.rewards import RewardConfig
from ruichat.config import Config, Seed
from ruichat.errors import ConfigError

Loss = Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo"]


class ReinforceConfig(Config):
    """Settings of reinforcement learning."""

    seed: Seed = 0
    steps: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps over which the rate rises."""
    questions_per_step: int = Field(default=8, ge=1)
    group: int = Field(default=8, ge=2)
    """Completions of each question, compared with each other."""
    rows: int = Field(default=16, ge=1)
    """Completions of one forward in one process; divides `questions_per_step` * `group`."""
    temperature: float = Field(default=1.0, gt=0)
    max_tokens: int = Field(default=512, ge=1)
    """Longest completion, thought and answer, text tokens."""
    loss: Loss = "dr_grpo"
    """How the loss is averaged over completions and their words, as TRL calls it."""
    beta: float = Field(default=0.02, ge=0)
    """Weight of the divergence from the model as it came."""
    clip_ratio: float = Field(default=0.2, gt=0)
    """How far a word's probability may move before it is no longer pushed."""
    scale: Literal["group", "batch", "none"] = "group"
    """Over what a reward's spread is taken to scale it."""
    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    clip: float = Field(default=1.0, gt=0)
    """Largest gradient norm."""
    precision: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    num_held_out: int = Field(default=64, ge=1)
    """Held-out questions asked before training, at `eval_every`, and at the end."""
    eval_every: int = Field(default=50, ge=1)
    log_every: int = Field(default=5, ge=1)
    checkpoint_every: int = Field(default=50, ge=1)
    keep: int = Field(default=2, ge=1)
    """Kept states; older ones are removed."""
    kinds: tuple[str, ...] = ()
    """Kinds of questions that are asked; all if empty."""
    rewards: RewardConfig = RewardConfig()

    @model_validator(mode="after")
    def _divides(self) -> ReinforceConfig:
        if self.questions_per_step * self.group % self.rows:
            raise ValueError(
                f"rows ({self.rows}) doesn't divide questions_per_step * group "
                f"({self.questions_per_step * self.group})"
            )
        return self

    @property
    def num_questions(self) -> int:
        """Questions of the whole run."""
        return self.steps * self.questions_per_step

    def parts_of_a_step(self, processes: int) -> int:
        """Forwards of a step in each process.

        Raises:
            ConfigError: its completions can't be divided so.
        """
        completions = self.questions_per_step * self.group
        if completions % (self.rows * processes):
            raise ConfigError(
                f"{completions} completions of a step can't be divided among {processes} "
                f"processes of {self.rows} rows",
                hint="Lower reinforce.rows, or raise reinforce.questions_per_step",
            )
        return completions // (self.rows * processes)
