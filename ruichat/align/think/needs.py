"""Memory that reinforcement learning takes, from its settings alone."""

from __future__ import annotations

from ruichat.align.preflight.memory import Plan
from ruichat.align.preflight.room import Launch, Need
from ruichat.align.preflight.ways import Names, Shapes, Size, need_of
from ruichat.align.think.rules import ReinforceConfig
from ruichat.truth.symbolic import SymbolicConfig

QUESTION_TOKENS = 128
"""Facts and a question of several options. Ours: mini's longest, rounded up."""


def rewarded_need(
    config: ReinforceConfig, shapes: Shapes, slides: SymbolicConfig, launch: Launch
) -> Need:
    """What a step of it takes as it is set, and with fewer completions in a forward."""
    row = QUESTION_TOKENS + slides.max_regions + config.max_tokens
    share = config.max_tokens / row
    plan = Plan(
        "fp32", config.rank, 0, 0, target_share=share, recompute=config.gradient_checkpointing
    )
    sizes: list[Size] = []
    rows = config.rows
    while rows:
        settings: dict[str, object] = {"reinforce.rows": rows}
        tiles = rows * slides.max_side**2
        sizes.append(Size(settings if sizes else {}, rows * row, tiles))
        rows = rows // 2 if rows % 2 == 0 else 0
    names = Names(recompute="reinforce.gradient_checkpointing", rank="reinforce.rank")
    return need_of("reinforce", shapes, plan, sizes, names, launch)
