"""Writes the thought that leads from a slide to the answer of a question about it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ruichat.truth.dialogues.chains import weighing
from ruichat.truth.dialogues.chains.thinker import Thinker
from ruichat.truth.dialogues.qa import QA, Kind
from ruichat.truth.dialogues.reading import Reading
from ruichat.truth.symbolic import SymbolicSlide

WAYS: dict[Kind, Callable[[Thinker], None]] = {
    "presence": weighing.weigh_presence,
    "presence_where": weighing.weigh_presence,
    "where": weighing.weigh_place,
    "type": weighing.weigh_type,
    "content": weighing.weigh_content,
    "region_presence": weighing.weigh_region,
    "dominant": weighing.weigh_dominant,
    "amount": weighing.weigh_amount,
    "side": weighing.weigh_side,
    "compare": weighing.weigh_compare,
    "describe": weighing.weigh_describe,
    "quality": weighing.weigh_quality,
    "cannot": weighing.weigh_refusal,
    "help": weighing.weigh_help,
}
"""How each kind of question is thought about."""


def write_chain(
    qa: QA, slide: SymbolicSlide | None, rng: np.random.Generator, *, plain: bool = False
) -> str:
    """The thought behind an answer: regions seen, weighed, concluded.

    Args:
        qa: written by `write_dialogue` about this slide, or about none.
        slide: what it was written from; every sentence is true of it.
        rng: chooses the wordings.
        plain: one wording for each step, and only regions that matter to the question: a small
            model learns that, and has lost the question at the end of a long thought.

    Returns:
        Sentences in the question's language; regions are written "[R7]" and each exists.
    """
    thinker = Thinker(qa, rng, Reading(slide) if slide is not None else None, plain)
    WAYS[qa.kind](thinker)
    return thinker.text
