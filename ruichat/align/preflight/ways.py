"""Ways of running a training on dialogues: as it is set, then smaller ones in turn."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruichat.align.preflight.memory import Base, Plan, memory_of
from ruichat.align.preflight.room import Launch, Need, Way
from ruichat.align.preflight.shapes import LanguageShape, RegionShape
from ruichat.errors import ArtifactError

LEAST_TOKENS = 512
"""Of a micro-batch that is proposed."""

LEAST_RANK = 8

_BASES: dict[str, Base] = {"float32": "fp32", "bfloat16": "bf16", "float16": "bf16"}


@dataclass(frozen=True)
class Size:
    """A micro-batch.

    Attributes:
        settings: that make it so, by their place in the file.
        tokens: text tokens.
        tiles: of its slides.
    """

    settings: Mapping[str, object]
    tokens: int
    tiles: int


@dataclass(frozen=True)
class Names:
    """Where settings stand in a stage's file; empty where it has none.

    Attributes:
        recompute: gradient checkpointing.
        rank: of LoRA.
        quantise: of the language model.
    """

    recompute: str = ""
    rank: str = ""
    quantise: str = ""


@dataclass(frozen=True)
class Shapes:
    """A model as training sees it.

    Attributes:
        language: its language model.
        regions: what is around it.
        base: how its weights are kept.
    """

    language: LanguageShape
    regions: RegionShape
    base: Base


def need_of(
    part: str, shapes: Shapes, plan: Plan, sizes: Sequence[Size], names: Names, launch: Launch
) -> Need:
    """What a part takes as it is set, and in smaller micro-batches, ranks and numbers.

    Args:
        part: its name.
        shapes: of the model.
        plan: how it is set; base, size and launch are put in.
        sizes: of micro-batches, as set and then smaller.
        names: where its settings stand.
        launch: how it is started.
    """
    plan = replace(plan, base=shapes.base, processes=launch.processes, sharded=launch.sharded)
    ways = (
        Way(settings, memory_of(shapes.language, shapes.regions, own))
        for settings, own in _plans(plan, sizes, names)
    )
    return Need(part, tuple(ways))


def _plans(
    plan: Plan, sizes: Sequence[Size], names: Names
) -> Iterator[tuple[dict[str, object], Plan]]:
    """As set, then activations computed again, smaller batches, smaller ranks, 4 bits."""
    bases: list[Base] = [plan.base]
    if names.quantise and plan.base != "4bit" and not plan.sharded:
        bases.append("4bit")
    recomputes = [plan.recompute, True][: 1 if plan.recompute or not names.recompute else 2]
    for base, rank, size, recompute in itertools.product(
        bases, _ranks(plan.rank, names), sizes, recomputes
    ):
        settings = dict(size.settings)
        if recompute != plan.recompute:
            settings[names.recompute] = True
        if rank != plan.rank:
            settings[names.rank] = rank
        if base != plan.base:
            settings[names.quantise] = base
        yield (
            settings,
            replace(
                plan,
                base=base,
                rank=rank,
                tokens=size.tokens,
                tiles=size.tiles,
                recompute=recompute,
            ),
        )


def _ranks(rank: int, names: Names) -> list[int]:
    smaller = itertools.takewhile(lambda r: r >= LEAST_RANK, (rank >> i for i in range(1, 20)))
    return [rank, *(smaller if names.rank else ())]


def base_of(dtype: str, quantise: str = "none") -> Base:
    """How weights of a dtype, as torch names it, are kept."""
    return "4bit" if quantise == "4bit" else _BASES.get(dtype.removeprefix("torch."), "fp32")


def read_config(path: Path) -> dict[str, Any]:
    """Content of a config.json.

    Raises:
        ArtifactError: it can't be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} can't be read: {error}", hint="Copy the folder again"
        ) from error
