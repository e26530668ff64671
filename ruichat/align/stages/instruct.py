"""Stage `instruct`: LoRA on the language model; projector and pointer train along."""

from __future__ import annotations

from collections.abc import Mapping
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
from ruichat.align.stages.outline import Outline, outline_of_checkpoint
from ruichat.align.stages.running import Built, Stage, run_stage
from ruichat.align.training.processes import start_processes
from ruichat.errors import ConfigError
from ruichat.model.adapter import language_matrices
from ruichat.model.base import BASE_FILE
from ruichat.model.checkpoint_files import ADAPTER_DIR, read_json
from ruichat.model.trainable import find_checkpoint, load_trainable
from ruichat.model.weights import ADAPTER_CONFIG

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


def outline(config: InstructConfig) -> Outline:
    """Of the checkpoint that is tuned, before its weights are loaded.

    Raises:
        ArtifactError: something of it is missing or damaged.
        ConfigError: it is none, or its adapter can't learn on with these settings.
    """
    folder = find_checkpoint(config.base)
    found = outline_of_checkpoint(folder)
    if (folder / ADAPTER_DIR).is_dir():
        _check_adapter(config, read_json(folder / ADAPTER_DIR / ADAPTER_CONFIG))
    return found


def build(config: InstructConfig, whole: bool = False, *, add_pieces: bool = False) -> Built:
    """A checkpoint in its own adapter or a fresh one, the same for the same seed.

    Args:
        config: of the stage.
        whole: leave its weights as they came, whatever `quantise` says.
        add_pieces: give rows to the pieces of thoughts where the checkpoint has none.
    """
    is_quantised = config.quantise != "none" and not whole
    folder = find_checkpoint(config.base)
    found = load_trainable(
        folder,
        quantise=config.quantise if is_quantised else "none",
        # As in `align`: quantised weights are made on the device.
        device=str(start_processes().device) if is_quantised else "cpu",
        add_pieces=add_pieces,
    )
    model = found.model
    if not hasattr(model, "peft_config"):
        torch.manual_seed(config.seed)
        model = get_peft_model(model, _lora_config(config.lora, model))
    objective = InstructObjective(model)
    group = Group("projector", ("modules_to_save.",), config.projector_rate)
    made_from = (("base", found.manifest.sha256),)
    return Built(
        objective,
        model,
        found.processor,
        objective,
        (group,),
        made_from,
        is_quantised,
        base=folder,
    )


def _lora_config(options: LoraOptions, model: Any) -> LoraConfig:
    return LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        use_dora=options.dora,
        target_modules=language_matrices(model),
        modules_to_save=[name for name in OURS if getattr(model, name, None) is not None],
    )


def _check_adapter(config: InstructConfig, found: Mapping[str, Any]) -> None:
    """Refuse settings that an adapter which learns on can't follow."""
    own = LoraOptions(
        rank=found["r"],
        alpha=found["lora_alpha"],
        dropout=found["lora_dropout"],
        dora=found["use_dora"],
    )
    if own != config.lora:
        said = ", ".join(f"{name}: {value}" for name, value in own.model_dump().items())
        raise ConfigError(
            f"{config.base} holds an adapter, which learns on, with other settings of lora",
            hint=f"Set lora: {{{said}}}; or fold it into the weights for a fresh one: "
            "ruichat align merge",
        )


def instruct_needs(config: InstructConfig, launch: Launch, part: str = "instruct") -> list[Need]:
    """Memory that the stage takes, from its settings alone; `part` is what messages call it.

    Raises:
        ArtifactError: the checkpoint can't be read.
        UnknownShapeError: its memory isn't computed here.
    """
    folder = find_checkpoint(config.base)
    shapes = checkpoint_shapes(folder, config.quantise)
    names = Names(
        recompute=RECOMPUTE,
        rank="" if (folder / ADAPTER_DIR).is_dir() else "lora.rank",
        quantise="quantise" if (folder / BASE_FILE).is_file() else "",
    )
    plan = plan_of(config, config.lora.rank)
    return [need_of(part, shapes, plan, sizes_of(config), names, launch)]


def train_instruct(
    config: InstructConfig, root: Path, out: Path, log: Log = print, *, anyway: bool = False
) -> Path:
    """Run the stage; see `running.run_stage`."""
    stage = Stage(
        "instruct",
        lambda launch: instruct_needs(config, launch),
        lambda: outline(config),
        lambda whole: build(config, whole),
    )
    return run_stage(stage, config, root, out, log, anyway=anyway)
