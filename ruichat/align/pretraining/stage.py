"""The stages `pretrain` and `distill`: from tiles to an encoder's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ruichat.align.loop import Group, Log, MicroBatch, StepReport, run_loop
from ruichat.align.preflight.room import check_memory
from ruichat.align.pretraining.backbone import Source, first_backbone, frozen_encoder
from ruichat.align.pretraining.crops import cut_crops
from ruichat.align.pretraining.fitting import check_encoders, cropping
from ruichat.align.pretraining.needs import vision_needs
from ruichat.align.pretraining.network import (
    Following,
    Network,
    Student,
    load_heads,
    save_heads,
)
from ruichat.align.pretraining.objective import Batch, Objective
from ruichat.align.pretraining.order import tiles_of_step
from ruichat.align.pretraining.reading import listed_digest, open_tiles
from ruichat.align.pretraining.settings import DistillConfig, PretrainConfig
from ruichat.align.pretraining.tiles import TileSet
from ruichat.align.stain import draw_concentrations
from ruichat.align.training.processes import start_processes
from ruichat.errors import ConfigError
from ruichat.features.encoders.folder import FolderCard
from ruichat.features.encoders.saving import save_encoder

RESULT = "encoder"
"""Folder of the finished encoder in that of the run."""


def train_tile_encoder(
    config: PretrainConfig, data: Path, out: Path, log: Log = print, *, anyway: bool = False
) -> Path:
    """Train an encoder; goes on where it stopped.

    Args:
        config: of `pretrain`, or of `distill`.
        data: folder that relative paths of tiles start from.
        out: folder of the run.
        log: takes lines.
        anyway: start it even if memory is foretold not to suffice.

    Returns:
        Folder of the finished encoder: the teacher's weights, its card, its heads.

    Raises:
        ConfigError, PrerequisiteError, InputError, ModelError: settings, tiles or encoders that
            can't be used, before the first step.
        DivergedError: a loss isn't finite.
    """
    _check_processes(config)
    check_memory(lambda launch: vision_needs(config, launch), log, anyway=anyway)
    check_encoders(config)
    sources = [source.under(data) for source in config.tiles]
    tiles = open_tiles(sources)
    source = first_backbone(config.backbone, config.crops.global_px, config.seed)
    mean, std = config.result.mean or source.mean, config.result.std or source.std
    source = replace(source, mean=mean, std=std)
    card = result_card(config, source)
    frozen = _frozen(config)
    anchor = None
    if config.gram is not None and config.gram.teacher is not None:
        anchor = frozen_encoder(config.gram.teacher)
    torch.manual_seed(config.seed)
    width = source.shape.width
    network = Network(source.module, width, config)
    if source.folder is not None:
        found = load_heads(source.folder, network)
        log(f"heads that go on from {source.folder.name}: {', '.join(found) or 'none'}")
    student = Student(network, [one.shape.width for one in frozen], width)
    following = Following(network, None if anchor is None else anchor.module)
    objective = Objective(config, student, source, following, anchor, frozen)
    digests = [one.digest for one in (source, *frozen, *([anchor] if anchor else []))]
    run_loop(
        student,
        partial(micro_batches, tiles, config, source.shape.patch_px),
        objective.loss,
        config.loop,
        out / "states",
        name="distill" if frozen else "pretrain",
        log=log,
        seed=config.seed,
        groups=rate_groups(config, source),
        carried=following,
        settings=f"{config.settings()} {listed_digest(sources)} {' '.join(digests)}",
        before_step=objective.aim,
        after_step=_after_step(config, student, following, objective, log),
    )
    if start_processes().is_main:
        save_heads(out / RESULT, following.network)
        save_encoder(out / RESULT, following.network.backbone, card)
    return out / RESULT


def micro_batches(
    tiles: TileSet, config: PretrainConfig, patch_px: int, step: int
) -> Sequence[Callable[[], MicroBatch[Batch]]]:
    """The global batch of a step, as functions that read and cut its parts."""
    numbers = tiles_of_step(step, config.batch, len(tiles), config.seed)
    parts = np.split(numbers, config.batch // config.micro_batch)
    crops = cropping(config)

    def make(i: int) -> MicroBatch[Batch]:
        rng = np.random.default_rng((config.seed, step, i))
        rows = [int(number) for number in parts[i]]
        stain = torch.ones(len(rows), 2)
        if config.student_stain is not None:
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            stain = draw_concentrations(len(rows), config.student_stain, generator)
        cut = cut_crops(
            [tiles[row] for row in rows],
            crops,
            config.masks if config.ibot.weight else config.masks.model_copy(update={"crops": 0.0}),
            patch_px=patch_px,
            student_stain=stain,
            rng=rng,
        )
        names = tuple(tiles.name(row) for row in rows)
        return MicroBatch(Batch(cut), num_targets=len(rows), records=names)

    return [partial(make, i) for i in range(len(parts))]


def rate_groups(config: PretrainConfig, source: Source) -> list[Group]:
    """Learning rates that fall from the last block to the first, and further for the patches."""
    if config.layer_decay == 1 and config.patch_rate == 1:
        return []
    depth, rate, decay = source.shape.depth, config.loop.learning_rate, config.layer_decay
    lists = {"vit": "body.layers", "dinov2": "body.encoder.layer", "dinov3": "body.model.layer"}
    prefix = lists[source.shape.body]
    lowest = rate * decay ** (depth + 1)
    return [
        Group("patches", ("patch_embeddings.",), lowest * config.patch_rate),
        Group("embeddings", ("body.embeddings.",), lowest),
        *(
            Group(f"block {i}", (f"{prefix}.{i}.",), rate * decay ** (depth - i))
            for i in range(depth)
        ),
    ]


def result_card(config: PretrainConfig, source: Source) -> FolderCard:
    """The card of the encoder that comes out.

    Raises:
        ConfigError: its fields don't fit each other.
    """
    result, shape = config.result, source.shape
    fields = {
        **result.model_dump(),
        "mean": source.mean,
        "std": source.std,
        "dim": shape.width * (2 if result.pooling == "cls+mean" else 1),
        "tile_px": source.input_px,
        "architecture": shape.model_dump(),
    }
    return FolderCard.checked(fields, source="result")


def _check_processes(config: PretrainConfig) -> None:
    """Refuse micro-batches that leave one process waiting for another's neighbours.

    Raises:
        ConfigError: KoLeo gathers, and processes take a different number of micro-batches.
    """
    parts, num = config.batch // config.micro_batch, start_processes().num
    if config.koleo.gather and config.koleo.weight and parts % num:
        raise ConfigError(
            f"a step has {parts} micro-batches for {num} processes, and koleo.gather looks for "
            "neighbours in all of them at once; allowed: a multiple of them",
            hint="Set koleo: {gather: false}, or another batch or micro_batch",
        )


def _frozen(config: PretrainConfig) -> list[Source]:
    if not isinstance(config, DistillConfig):
        return []
    return [frozen_encoder(choice) for choice in config.teachers]


def _after_step(
    config: PretrainConfig,
    student: Student,
    following: Following,
    objective: Objective,
    log: Log,
) -> Callable[[StepReport], None]:
    processes = start_processes()

    def after(report: StepReport) -> None:
        momentum = config.teacher.momentum.at(report.step, config.loop.steps)
        following.follow(student.network, momentum)
        if config.gram is not None:
            following.settle_anchor(
                report.step,
                from_step=config.gram.from_step,
                refresh_every=config.gram.refresh_every,
                max_refreshes=config.gram.max_refreshes,
            )
        if report.step % config.loop.log_every == 0:
            means = objective.means(processes)
            if processes.is_main:
                log("  " + ", ".join(f"{name} {value:.4f}" for name, value in means.items()))

    return after
