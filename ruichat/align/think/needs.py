"""Memory that reinforcement learning takes, from its settings alone."""

from __future__ import annotations

from ruichat.align.preflight.memory import Plan
from ruichat.align.preflight.room import Launch, Need
from ruichat.align.preflight.ways import Names, Shapes, Size, need_of
from ruichat.align.think.rules import ReinforceConfig

QUESTION_TOKENS = 128
"""Facts and a question of several options. Ours: mini's longest, rounded up."""


def rewarded_need(
    config: ReinforceConfig,
    shapes: Shapes,
    launch: Launch,
    *,
    regions: int,
    tiles: int,
    rank: int = 0,
) -> Need:
    """What a step of it takes as it is set, and with fewer completions in a forward.

    Args:
        config: its settings.
        shapes: of the model.
        launch: how it is started.
        regions: of a slide at most.
        tiles: of a slide at most.
        rank: of an adapter that learns on; a fresh one has the rank of the settings.
    """
    row = QUESTION_TOKENS + regions + config.max_tokens
    share = config.max_tokens / row
    recompute = config.gradient_checkpointing
    written = config.questions_per_step * config.group // launch.processes * row
    plan = Plan(
        "fp32",
        rank or config.rank,
        0,
        0,
        target_share=share,
        recompute=recompute,
        written_tokens=written,
    )
    sizes: list[Size] = []
    rows = config.rows
    while rows:
        settings: dict[str, object] = {"reinforce.rows": rows}
        # Completions of a question share its slide.
        num_slides = -(-rows // config.group)
        sizes.append(Size(settings if sizes else {}, rows * row, num_slides * tiles))
        rows = rows // 2 if rows % 2 == 0 else 0
    names = Names(
        recompute="reinforce.gradient_checkpointing", rank="" if rank else "reinforce.rank"
    )
    return need_of("reinforce", shapes, plan, sizes, names, launch)
