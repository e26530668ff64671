"""Stage `instruct`: LoRA on the language model; projector and pointer train along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from ruichat.align.data.batch import DialogueBatch, encode_batch, words_loss
from ruichat.align.loop import Group, Log
from ruichat.align.preflight.room import Launch, Need
from ruichat.align.preflight.ways import Names, need_of
from ruichat.align.stages.config import InstructConfig, LoraOptions
from ruichat.align.stages.needs import RECOMPUTE, checkpoint_shapes, plan_of, sizes_of
from ruichat.align.stages.running import Built, Stage, run_stage
from ruichat.align.training.processes import start_processes
from ruichat.errors import ConfigError
from ruichat.model.base import BASE_FILE
from ruichat.model.checkpoint_files import ADAPTER_DIR
from ruichat.model.trainable import load_trainable

OURS = ("region_encoder", "pointer", "pieces")
"""Modules of ours that train as a whole."""


class InstructObjective(nn.Module):
    """The loss on the assistant's words."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: DialogueBatch) -> Tensor:
        """Sum over the words."""
        return words_loss(self.model, batch, encode_batch(self.model, batch))


def build(config: InstructConfig, whole: bool = False) -> Built:
    """A checkpoint in its own adapter or a fresh one, the same for the same seed.

    Args:
        config: of the stage.
        whole: leave its weights as they came, whatever `quantise` says.
    """
    is_quantised = config.quantise != "none" and not whole
    found = load_trainable(
        Path(config.base),
        quantise=config.quantise if is_quantised else "none",
        # As in `align`: quantised weights are made on the device.
        device=str(start_processes().device) if is_quantised else "cpu",
    )
    if hasattr(found.model, "peft_config"):
        model = found.model
        _check_adapter(config, model.peft_config["default"])
    else:
        torch.manual_seed(config.seed)
        model = get_peft_model(found.model, _lora_config(config.lora, found.model))
    objective = InstructObjective(model)
    group = Group("projector", ("modules_to_save.",), config.projector_rate)
    made_from = (("base", found.manifest.sha256),)
    return Built(objective, model, found.processor, objective, (group,), made_from, is_quantised)


def _lora_config(options: LoraOptions, model: Any) -> LoraConfig:
    return LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        use_dora=options.dora,
        target_modules=_matrices(model),
        modules_to_save=[name for name in OURS if getattr(model, name, None) is not None],
    )


def _check_adapter(config: InstructConfig, found: Any) -> None:
    """Refuse settings that an adapter which learns on can't follow."""
    own = LoraOptions(
        rank=found.r, alpha=found.lora_alpha, dropout=found.lora_dropout, dora=found.use_dora
    )
    if own != config.lora:
        said = ", ".join(f"{name}: {value}" for name, value in own.model_dump().items())
        raise ConfigError(
            f"{config.base} holds an adapter, which learns on, with other settings of lora",
            hint=f"Set lora: {{{said}}}; or fold it into the weights for a fresh one: "
            "ruichat align merge",
        )


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
    folder = Path(config.base)
    shapes = checkpoint_shapes(folder, config.quantise)
    names = Names(
        recompute=RECOMPUTE,
        rank="" if (folder / ADAPTER_DIR).is_dir() else "lora.rank",
        quantise="quantise" if (folder / BASE_FILE).is_file() else "",
    )
    plan = plan_of(config, config.lora.rank)
    return [need_of("instruct", shapes, plan, sizes_of(config), names, launch)]


def train_instruct(
    config: InstructConfig, root: Path, out: Path, log: Log = print, *, anyway: bool = False
) -> Path:
    """Run the stage; see `running.run_stage`."""
    stage = Stage(
        "instruct",
        lambda launch: instruct_needs(config, launch),
        lambda whole: build(config, whole),
    )
    return run_stage(stage, config, root, out, log, anyway=anyway)
