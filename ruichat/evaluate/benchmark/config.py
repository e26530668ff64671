"""Settings of a benchmark: which model, which dialogues, which bags, how asked."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ruichat.chat.model_options import ModelOptions
from ruichat.config import Config
from ruichat.features.foreign.given import BagReading
from ruichat.truth.datasets.prepare import DataSource

Style = Literal["plain", "short"]


class BenchmarkConfig(Config):
    """One model over files of dialogues. Paths are relative to the config's folder."""

    model: str = "mini"
    """Embedded model, a model folder, "hub:OWNER/NAME" or "openai:NAME"."""
    options: ModelOptions = ModelOptions()
    """How models that aren't ours are loaded, and what they are shown."""
    data: tuple[DataSource, ...] = Field(min_length=1)
    """Files of dialogues in any format that `ruichat align data formats` lists."""
    leave_out_broken: bool = False
    """Go on without records that can't be used; the manifest counts them."""
    bags: tuple[str, ...] = ()
    """Folders of bags. Without any, all is asked blind, and the report says so."""
    pictures: tuple[str, ...] = ()
    """Folders of the pictures that dialogues are about, for models that look at pictures; no run
    has both bags and pictures."""
    reading: BagReading = BagReading()
    """What feature files of other tools don't state."""
    missing: Literal["refuse", "leave_out"] = "refuse"
    """What to do where the slide of a dialogue has no bag, or its picture isn't there."""
    style: Style = "plain"
    """plain asks as the dialogues do; short adds that a letter, yes or no, or a word is wanted,
    which models need that weren't trained to answer shortly."""
    facts: bool = True
    """Whether the model is told what was measured on the slide, where its bag has that."""
    think: bool = False
    """Whether a model that can is made to think before it answers; the thought isn't scored."""
    max_tokens: int = Field(default=160, gt=0)
    """Longest answer, text tokens."""
    rotations: int = Field(default=3, ge=1)
    """Orders of the options that are asked beside the file's own, each rotated further."""
    seed: int = 0
    """Of the pairing with other patients' slides, of the order under --limit, of the bootstrap."""
    num_draws: int = Field(default=1000, ge=10)
    """Bootstrap samples behind each interval."""

    @model_validator(mode="after")
    def _bags_or_pictures(self) -> BenchmarkConfig:
        if self.bags and self.pictures:
            raise ValueError("give bags or pictures; a model reads the one or looks at the other")
        return self

    def asking(self) -> BenchmarkConfig:
        """The same with only what answers hang on; the intervals may be drawn anew."""
        return self.model_copy(update={"num_draws": 1000})
