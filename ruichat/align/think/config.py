"""What the stage `think` is told, readable without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ruichat.align.laid_settings import CalibrateConfig, LaidTraining
from ruichat.align.stages.config import InstructConfig
from ruichat.align.think.rules import ReinforceConfig
from ruichat.config import Config, read_yaml
from ruichat.truth.datasets.checkable import KINDS as CHECKABLE
from ruichat.truth.datasets.prepare import DataSource
from ruichat.truth.dialogues.qa import KINDS as WRITTEN
from ruichat.truth.symbolic import SymbolicConfig


class LaidThinkConfig(Config):
    """Thoughts about our own questions: slides laid from a bank of labelled tiles."""

    model: str = "mini"
    """What is taught: mini, or a checkpoint folder."""
    name: str = "mini-think"
    """Of the model that is made; recorded with its answers."""
    bank: Path
    """Embeddings of labelled tiles by the model's encoder, as `ruichat align mini` writes them."""
    bags: SymbolicConfig = SymbolicConfig()
    """How tiles are laid into slides."""
    teach: LaidTraining
    """Written thoughts; `thoughts` is the share of answers that have one."""
    reinforce: ReinforceConfig | None = None
    """Rewards; none if missing."""
    apart: bool = False
    """Whether the weights that think are kept beside those of before, which go on answering at
    once: nothing of that is forgotten, and the checkpoint holds both."""
    calibrate: CalibrateConfig | None = CalibrateConfig()
    threads: int = Field(default=0, ge=0)
    """CPU threads; 0 takes all cores."""

    @model_validator(mode="after")
    def _thinks(self) -> LaidThinkConfig:
        if self.teach.thoughts == 0:
            raise ValueError("teach.thoughts is 0: nothing would be thought")
        _check_kinds(self.reinforce, WRITTEN)
        return self


class ThoughtOptions(Config):
    """Which answers are thought about, and in whose words."""

    thoughts: float = Field(default=0.7, gt=0, le=1)
    """Share of the answers that are thought about first; the others keep the model able to answer
    at once."""
    write: bool = True
    """Where an answer comes without a thought, write one from what can be checked of it: options,
    regions, value. Otherwise only those of the file are taught."""


class DialogueThinkConfig(InstructConfig):
    """Thoughts about the questions of dialogue files: the instruction stage, then rewards."""

    teach: ThoughtOptions
    held_out: tuple[DataSource, ...] = ()
    """Files whose questions are asked while rewards are learnt from, and never learnt; training
    must share no patient, slide or question with them."""
    reinforce: ReinforceConfig | None = None
    """Rewards; none if missing."""
    unchecked: Literal["refuse", "teach"] = "refuse"
    """What becomes of a dialogue that nothing can be rewarded for."""

    @model_validator(mode="after")
    def _can_be_rewarded(self) -> DialogueThinkConfig:
        if self.reinforce is None:
            return self
        if not self.held_out:
            raise ValueError("reinforce is set, and held_out names no file to measure rewards on")
        if self.quantise != "none":
            raise ValueError(f"quantise is {self.quantise}: rewards are learnt from whole weights")
        _check_kinds(self.reinforce, CHECKABLE)
        return self


ThinkConfig = LaidThinkConfig | DialogueThinkConfig


def read_config(path: Path) -> ThinkConfig:
    """Read and validate one YAML file: with `data` it is about dialogue files.

    Raises:
        ConfigError: as `Config.from_yaml`.
    """
    values = read_yaml(path)
    kind = DialogueThinkConfig if "data" in values or "base" in values else LaidThinkConfig
    return kind.checked(values, source=path.name)


def _check_kinds(rules: ReinforceConfig | None, known: tuple[str, ...]) -> None:
    unknown = [] if rules is None else [kind for kind in rules.kinds if kind not in known]
    if unknown:
        raise ValueError(
            f"reinforce.kinds has {', '.join(unknown)}; allowed here: {', '.join(known)}"
        )
