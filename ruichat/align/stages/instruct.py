"""Stage `instruct`: LoRA on the language model; projector and pointer train along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from pydantic import Field
from torch import Tensor, nn

from ruichat.align.data.batch import DialogueBatch, encode_batch, words_loss
from ruichat.align.loop import Group, Log
from ruichat.align.preflight.room import Launch, Need
from ruichat.align.preflight.ways import Names, need_of
from ruichat.align.stages.config import StageConfig
from ruichat.align.stages.needs import RECOMPUTE, checkpoint_shapes, plan_of, sizes_of
from ruichat.align.stages.running import Built, Stage, run_stage
from ruichat.config import Config
from ruichat.errors import ConfigError
from ruichat.model.trainable import load_trainable

OURS = ("region_encoder", "pointer", "pieces")
"""Modules of ours that train as a whole."""


class LoraOptions(Config):
    """The adapter."""

    rank: int = Field(default=64, gt=0)
    alpha: int = Field(default=128, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    dora: bool = False
    """Weights' lengths apart from their directions (Liu et al. 2024, arXiv:2402.09353); merged
    into the weights when the stage ends."""


class InstructConfig(StageConfig):
    """Settings of the instruction stage."""

    base: str
    """Folder of the checkpoint that `align` wrote, from where the command is run."""
    lora: LoraOptions = LoraOptions()
    projector_rate: float = Field(default=1e-4, gt=0)
    """Highest rate of what isn't the adapter."""


class InstructObjective(nn.Module):
    """The loss on the assistant's words."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: DialogueBatch) -> Tensor:
        """Sum over the words."""
        return words_loss(self.model, batch, encode_batch(self.model, batch))


def build(config: InstructConfig) -> Built:
    """A checkpoint in a fresh adapter, the same for the same seed."""
    import torch

    found = load_trainable(Path(config.base))
    if hasattr(found.model, "peft_config"):
        raise ConfigError(
            f"{config.base} holds an adapter already",
            hint="Merge it first, or give the checkpoint that `align` wrote",
        )
    torch.manual_seed(config.seed)
    lora = LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        use_dora=config.lora.dora,
        target_modules=_matrices(found.model),
        modules_to_save=[name for name in OURS if getattr(found.model, name, None) is not None],
    )
    model = get_peft_model(found.model, lora)
    objective = InstructObjective(model)
    group = Group("projector", ("modules_to_save.",), config.projector_rate)
    made_from = (("base", found.manifest.sha256),)
    return Built(objective, model, found.processor, objective, (group,), made_from)


def _matrices(model: Any) -> list[str]:
    """Every matrix of the language model's layers."""
    return [
        f"language_model.{name}"
        for name, module in model.language_model.named_modules()
        if isinstance(module, nn.Linear)
    ]


def instruct_needs(config: InstructConfig, launch: Launch) -> list[Need]:
    """Memory that the stage takes, from its settings alone.

    Raises:
        ArtifactError: the checkpoint can't be read.
        UnknownShapeError: its memory isn't computed here.
    """
    names = Names(recompute=RECOMPUTE, rank="lora.rank")
    shapes = checkpoint_shapes(Path(config.base))
    plan = plan_of(config, config.lora.rank)
    return [need_of("instruct", shapes, plan, sizes_of(config), names, launch)]


def train_instruct(
    config: InstructConfig, root: Path, out: Path, log: Log = print, *, anyway: bool = False
) -> Path:
    """Run the stage; see `running.run_stage`."""
    stage = Stage(
        "instruct",
        lambda launch: instruct_needs(config, launch),
        lambda whole: build(config),
    )
    return run_stage(stage, config, root, out, log, anyway=anyway)
