"""Thoughts about the questions of dialogue files: instruction with thoughts, then rewards."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from ruichat.align.data.dialogues import FiledDialogues
from ruichat.align.loop import Log
from ruichat.align.preflight.room import Launch, Need, check_memory
from ruichat.align.stages.beside import carry_on
from ruichat.align.stages.data import StageData, dialogues_of, open_data
from ruichat.align.stages.instruct import build, instruct_needs, outline
from ruichat.align.stages.needs import checkpoint_shapes
from ruichat.align.stages.outline import Outline, outline_of_checkpoint
from ruichat.align.stages.running import (
    CHECKPOINT_DIR,
    Stage,
    batches_of,
    quiet,
    train_stage,
    use_float32,
)
from ruichat.align.think.config import DialogueThinkConfig
from ruichat.align.think.filed_questions import FiledQuestions, find_asked
from ruichat.align.think.needs import rewarded_need
from ruichat.align.think.rules import ReinforceConfig
from ruichat.align.think.spoken import require_thoughts, thinking_turns
from ruichat.align.training.processes import Layout, start_processes
from ruichat.errors import ConfigError
from ruichat.model.checkpoint import save_checkpoint
from ruichat.model.trainable import find_checkpoint, load_trainable
from ruichat.registry import require
from ruichat.truth.datasets.checkable import require_checkable
from ruichat.truth.datasets.prepare import DataConfig

TAUGHT_DIR = "taught"
"""Checkpoint of the first step, from which rewards are learnt."""


@dataclass(frozen=True)
class _Asked:
    """Questions of the second step."""

    train: FiledQuestions
    held_out: FiledQuestions
    held_out_digest: str
    """Of their dialogue files."""


def filed_needs(config: DialogueThinkConfig, launch: Launch) -> list[Need]:
    """See `stage.think_needs`."""
    found = instruct_needs(config, launch, part="teach")
    if config.reinforce is not None:
        folder = find_checkpoint(config.base)
        sizes = {
            "regions": outline_of_checkpoint(folder).max_regions,
            "tiles": config.batches.budget.tiles,
            "rank": config.lora.rank,
        }
        found.append(rewarded_need(config.reinforce, checkpoint_shapes(folder), launch, **sizes))
    return found


def think_filed(
    config: DialogueThinkConfig, root: Path, out: Path, log: Log, *, anyway: bool
) -> Path:
    """See `stage.think`; `out/checkpoint` holds the finished checkpoint."""
    processes = start_processes()
    log = log if processes.is_main else quiet
    rules, stage = config.reinforce, _teaching(config)
    if rules is not None:
        for package in ("trl", "datasets"):
            require(package, extra="align")
        _check_layout(processes.layout)
        rules.parts_of_a_step(processes.num)
    check_memory(stage.needs, log, anyway=anyway)
    model = stage.outline()
    data = _open(config, root, out)
    dialogues = dialogues_of(config, data, model)
    require_thoughts(dialogues, config.teach)
    asked = None if rules is None else _ask(config, rules, root, out, dialogues, model, log)
    batches = batches_of(stage, config, dialogues, model, log)
    # What rewards are set to leaves the first step as it is.
    own = config.model_copy(update={"reinforce": None, "held_out": (), "unchecked": "teach"})
    result = CHECKPOINT_DIR if asked is None else TAUGHT_DIR
    folder = train_stage(stage, own, data, batches, out, log, result)
    if rules is None or asked is None:
        return folder
    return _reward(config, rules, data, asked, folder, out, log)


def _check_layout(layout: Layout) -> None:
    """Refuse to learn from rewards with weights that no process holds whole.

    Raises:
        ConfigError: FSDP2 or DeepSpeed are asked for.
    """
    if layout in ("shards", "zero"):
        name = "FSDP2" if layout == "shards" else "DeepSpeed"
        raise ConfigError(
            f"rewards are learnt with whole weights in every process, not under {name}",
            hint="Start it with torchrun alone; or teach under it with reinforce: null",
        )


def _teaching(config: DialogueThinkConfig) -> Stage:
    return Stage(
        "teach",
        lambda launch: filed_needs(config, launch),
        lambda: outline(config),
        lambda whole: build(config, whole, add_pieces=True),
        functools.partial(thinking_turns, options=config.teach),
    )


def _open(config: DialogueThinkConfig, root: Path, out: Path) -> StageData:
    """What is learnt from, kept apart from what it is measured on.

    Raises:
        RuiChatError: see `open_data`.
    """
    rewards = config.reinforce is not None and config.unchecked == "refuse"
    apart = (*config.data.evaluation, *config.held_out)
    return open_data(
        config.data.model_copy(update={"evaluation": apart}),
        root,
        out / "data",
        start_processes(),
        more=require_checkable if rewards else None,
    )


def _ask(
    config: DialogueThinkConfig,
    rules: ReinforceConfig,
    root: Path,
    out: Path,
    dialogues: FiledDialogues,
    model: Outline,
    log: Log,
) -> _Asked:
    """Questions to learn from and to measure on, looked through before anything is learnt."""
    source = DataConfig(train=config.held_out, bags=config.data.bags)
    held_data = open_data(source, root, out / "held_out", start_processes())
    held = dialogues_of(config, held_data, model)
    asked, asked_held = find_asked(dialogues, rules.kinds), find_asked(held, rules.kinds)
    num_held = min(rules.num_held_out, len(asked_held))
    log(
        f"rewards: {len(asked)} questions can be checked, {rules.num_questions} are asked; "
        f"{num_held} of {len(asked_held)} held-out ones measure them"
    )
    kept = rules.questions_per_step
    found = _Asked(
        FiledQuestions(
            dialogues, asked, model.processor, num=rules.num_questions, seed=rules.seed, kept=kept
        ),
        FiledQuestions(held, asked_held, model.processor, num=num_held, seed=rules.seed, kept=kept),
        held_data.digest,
    )
    for one in (found.train, found.held_out):
        one.check(model.max_positions, rules.max_tokens)
    return found


def _reward(
    config: DialogueThinkConfig,
    rules: ReinforceConfig,
    data: StageData,
    asked: _Asked,
    taught: Path,
    out: Path,
    log: Log,
) -> Path:
    from ruichat.align.think.reinforce import reinforce

    start = load_trainable(taught)
    use_float32(start.model)
    made_from = {"base": start.manifest.sha256, "dialogues": data.digest}
    trained = reinforce(
        rules,
        start.model,
        start.processor,
        asked.train,
        asked.held_out,
        out / "reinforce",
        settings="-".join(
            one[:16] for one in (start.manifest.sha256, data.digest, asked.held_out_digest)
        ),
        log=log,
    )
    processes = start_processes()
    if processes.is_main:
        save_checkpoint(
            out / CHECKPOINT_DIR,
            trained,
            start.processor,
            name=config.name,
            encoder_digest=data.encoder_digest,
            half=True,
            made_from=made_from,
            config_fingerprint=config.fingerprint(),
            details={"stage": "think"},
        )
        carry_on(taught, out / CHECKPOINT_DIR, log)
    processes.sums([0.0])
    return out / CHECKPOINT_DIR
