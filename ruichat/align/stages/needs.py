"""Sizes of what stages on dialogues train, from their settings alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruichat.align.preflight.memory import Plan
from ruichat.align.preflight.shapes import QWEN3, LanguageShape, RegionShape
from ruichat.align.preflight.ways import (
    LEAST_TOKENS,
    Shapes,
    Size,
    base_of,
    read_config,
)
from ruichat.align.stages.config import LanguageModelSource, StageConfig
from ruichat.errors import PrerequisiteError
from ruichat.model.base import find_folder
from ruichat.model.checkpoint_files import CONFIG_FILE, read_manifest

RECOMPUTE = "training.gradient_checkpointing"


def checkpoint_shapes(folder: Path, quantise: str = "none") -> Shapes:
    """Sizes of a checkpoint.

    Raises:
        ArtifactError: it can't be read.
        UnknownShapeError: its memory isn't computed here.
    """
    dtype = str(read_manifest(folder).details.get("dtype", "float32"))
    config = read_config(folder / CONFIG_FILE)
    language = LanguageShape.of(config)
    regions = RegionShape(int(config["bag_dim"]), language.width, int(config["pointer_dim"]))
    return Shapes(language, regions, base_of(dtype, quantise))


def language_shape(source: LanguageModelSource) -> tuple[LanguageShape, str]:
    """Shape and dtype of a language model, by its name alone where a published one isn't here.

    Raises:
        PrerequisiteError: it isn't there, and may not be downloaded.
        UnknownShapeError: its memory isn't computed here.
    """
    try:
        folder = find_folder(source.name, source.revision, local_only=True)
    except PrerequisiteError:
        known = QWEN3.get(source.name.rsplit("/", 1)[-1])
        if known is not None:
            return known, "bfloat16"
        folder = find_folder(source.name, source.revision, local_only=not source.download)
    config: dict[str, Any] = read_config(folder / "config.json")
    text: dict[str, Any] = config.get("text_config") or config
    dtype = text.get("dtype") or text.get("torch_dtype") or config.get("torch_dtype")
    return LanguageShape.of(config), str(dtype or "float32")


def plan_of(config: StageConfig, rank: int) -> Plan:
    """As set, with LoRA of that rank; size, base and launch are put in later."""
    recompute = config.training.gradient_checkpointing
    return Plan(base="bf16", rank=rank, tokens=0, tiles=0, recompute=recompute)


def sizes_of(config: StageConfig) -> list[Size]:
    """The budget of a micro-batch as set, then halves of it."""
    budget = config.batches.budget
    found = [Size({}, budget.tokens, budget.tiles)]
    tokens, tiles = budget.tokens // 2, budget.tiles // 2
    while tokens >= LEAST_TOKENS:
        settings = {"batches.budget.tokens": tokens, "batches.budget.tiles": tiles}
        if budget.row_tokens > tokens:
            settings["batches.budget.row_tokens"] = tokens
        found.append(Size(settings, tokens, tiles))
        tokens, tiles = tokens // 2, tiles // 2
    return found
