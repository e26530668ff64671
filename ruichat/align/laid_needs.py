"""Memory of training an adapter on dialogues about laid slides, as `think` and `adapt` do."""

from __future__ import annotations

from ruichat.align.laid_settings import LaidTraining
from ruichat.align.preflight.memory import Plan
from ruichat.align.preflight.room import Launch, Need
from ruichat.align.preflight.ways import Names, Shapes, Size, need_of
from ruichat.truth.symbolic import SymbolicConfig


def taught_need(
    part: str,
    config: LaidTraining,
    shapes: Shapes,
    slides: SymbolicConfig,
    launch: Launch,
) -> Need:
    """What `instruct.train_adapter` takes.

    Args:
        part: where its settings stand in the stage's file.
        config: of the training.
        shapes: of the model.
        slides: that are laid.
        launch: how it is started.
    """
    loop = config.loop
    plan = Plan("fp32", config.rank, 0, 0, recompute=loop.gradient_checkpointing)
    names = Names(recompute=f"{part}.loop.gradient_checkpointing", rank=f"{part}.rank")
    sizes: list[Size] = []
    num = config.slides_per_step
    while num:
        settings: dict[str, object] = {f"{part}.slides_per_step": num}
        tiles = num * slides.max_side**2
        sizes.append(Size(settings if sizes else {}, num * config.row_tokens, tiles))
        num //= 2
    return need_of(part, shapes, plan, sizes, names, launch)
