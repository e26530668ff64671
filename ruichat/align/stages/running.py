"""How a stage runs: data, model, loop, and a checkpoint that answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ruichat.align.data.batch import DialogueBatch
from ruichat.align.data.dialogues import FiledDialogues
from ruichat.align.dialogue_batches import DialogueBatches, Spoken, turns_of
from ruichat.align.loop import Group, Log, run_loop
from ruichat.align.preflight.room import Launch, Need, check_memory
from ruichat.align.stages.beside import carry_on
from ruichat.align.stages.config import StageConfig
from ruichat.align.stages.data import StageData, dialogues_of, open_data
from ruichat.align.stages.outline import Outline
from ruichat.align.training.processes import start_processes
from ruichat.align.training.state import load_trained, newest_tensors
from ruichat.model.checkpoint import save_checkpoint
from ruichat.model.processing import RuiChatProcessor

CHECKPOINT_DIR = "checkpoint"


@dataclass(frozen=True)
class Built:
    """A model as a stage trains it.

    Attributes:
        trained: holds what asks for a gradient.
        model: ours, or PEFT's around it; what is saved.
        processor: of the model.
        loss_of: sum over a micro-batch's words.
        groups: with rates of their own.
        made_from: digests by role, for the checkpoint.
        is_quantised: whether frozen weights are kept in fewer bits than they came in.
        base: folder of the checkpoint that is trained on; None of a published language model.
    """

    trained: nn.Module
    model: Any
    processor: RuiChatProcessor
    loss_of: Callable[[DialogueBatch], Tensor]
    groups: Sequence[Group] = ()
    made_from: tuple[tuple[str, str], ...] = ()
    is_quantised: bool = False
    base: Path | None = None


@dataclass(frozen=True)
class Stage:
    """What is particular to a stage.

    Attributes:
        name: of it.
        needs: memory that it takes, given how it is started.
        outline: of the model, before anything of it is loaded.
        build: makes the model, the same each time; given whether that is to be saved, and so has
            to be whole and unquantised.
        spoken: what of a dialogue is learnt.
    """

    name: str
    needs: Callable[[Launch], Sequence[Need]]
    outline: Callable[[], Outline]
    build: Callable[[bool], Built]
    spoken: Spoken = turns_of


def run_stage(
    stage: Stage, config: StageConfig, root: Path, out: Path, log: Log, *, anyway: bool
) -> Path:
    """Train and write `out/checkpoint`; interrupted, it goes on where it stopped.

    Args:
        stage: what is run.
        config: its settings.
        root: folder that the settings' paths are relative to.
        out: folder of the run.
        log: takes lines.
        anyway: start it even if memory is foretold not to suffice.

    Raises:
        NoRoomError: memory doesn't suffice.
        RuiChatError: whatever can be known to be wrong before the model is loaded; see `run_loop`.
    """
    processes = start_processes()
    log = log if processes.is_main else quiet
    check_memory(stage.needs, log, anyway=anyway)
    outline = stage.outline()
    data = open_data(config.data, root, out / "data", processes)
    dialogues = dialogues_of(config, data, outline)
    batches = batches_of(stage, config, dialogues, outline, log)
    return train_stage(stage, config, data, batches, out, log)


def batches_of(
    stage: Stage, config: StageConfig, dialogues: FiledDialogues, outline: Outline, log: Log
) -> DialogueBatches:
    """Global batches for a model; raises as `DialogueBatches`."""
    return DialogueBatches(
        dialogues,
        outline.processor,
        config.batches,
        seed=config.seed,
        max_positions=outline.max_positions,
        log=log,
        spoken=stage.spoken,
    )


def train_stage(
    stage: Stage,
    config: StageConfig,
    data: StageData,
    batches: DialogueBatches,
    out: Path,
    log: Log,
    result: str = CHECKPOINT_DIR,
) -> Path:
    """Load the model, train it, and write `out/result`; see `run_stage`."""
    processes = start_processes()
    built = stage.build(False)
    digests = f"{data.digest}|{batches.bags_digest}|{dict(built.made_from)}"
    use_float32(built.trained)
    run_loop(
        built.trained,
        batches.micro_batches,
        built.loss_of,
        config.training.for_steps(batches.steps),
        out / stage.name,
        name=stage.name,
        log=log,
        seed=config.seed,
        groups=built.groups,
        settings=f"{_fingerprint(config)}|{digests}",
    )
    if processes.is_main:
        if processes.layout == "shards" or built.is_quantised:
            built = stage.build(True)
            load_trained(built.trained, newest_tensors(out / stage.name))
        _save(stage.name, config, built, data, out / result)
        carry_on(built.base, out / result, log)
    processes.sums([0.0])
    return out / result


def _fingerprint(config: StageConfig) -> str:
    """Of all but the training, of which the loop knows what counts."""
    return config.model_copy(update={"training": type(config.training)()}).fingerprint()


def use_float32(trained: nn.Module) -> None:
    """What trains is kept in float32, whatever the language model is kept in."""
    for parameter in trained.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()


def _save(stage: str, config: StageConfig, built: Built, data: StageData, folder: Path) -> None:
    save_checkpoint(
        folder,
        built.model,
        built.processor,
        name=config.name,
        encoder_digest=data.encoder_digest,
        half=True,
        made_from={**dict(built.made_from), "dialogues": data.digest},
        config_fingerprint=config.fingerprint(),
        details={"stage": stage},
    )


def quiet(_: str) -> None:
    """Takes lines of processes that nobody reads."""
