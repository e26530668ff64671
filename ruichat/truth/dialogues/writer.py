"""Writes whole dialogues about a slide."""

from __future__ import annotations

import functools
from collections.abc import Collection

import numpy as np

from ruichat.errors import ConfigError
from ruichat.histology import Language
from ruichat.truth.dialogues.asker import Asker, Question
from ruichat.truth.dialogues.balance import Balance
from ruichat.truth.dialogues.comparing import ask_compare, ask_side
from ruichat.truth.dialogues.following import ask_follow_up
from ruichat.truth.dialogues.identifying import ask_dominant, ask_type
from ruichat.truth.dialogues.inspecting import ask_content, ask_region_presence
from ruichat.truth.dialogues.qa import QA, Kind, Split
from ruichat.truth.dialogues.reading import Reading
from ruichat.truth.dialogues.refusing import ask_cannot, ask_help
from ruichat.truth.dialogues.seeing import ask_presence, ask_presence_where, ask_where
from ruichat.truth.dialogues.weighing import ask_amount, ask_describe, ask_quality
from ruichat.truth.symbolic import SymbolicSlide

QUESTIONS: dict[Kind, tuple[Question, float]] = {
    "presence": (ask_presence, 0.14),
    "presence_where": (ask_presence_where, 0.08),
    "where": (ask_where, 0.13),
    "type": (ask_type, 0.12),
    "content": (ask_content, 0.10),
    "region_presence": (ask_region_presence, 0.06),
    "dominant": (ask_dominant, 0.05),
    "amount": (ask_amount, 0.07),
    "side": (ask_side, 0.07),
    "compare": (ask_compare, 0.09),
    "describe": (ask_describe, 0.05),
    "quality": (ask_quality, 0.015),
    "cannot": (ask_cannot, 0.085),
    "help": (ask_help, 0.03),
}
"""How each kind is asked, and how often."""

_TURNS = (1, 1, 1, 1, 2, 2, 2, 3, 3, 4)
_FOLLOW_UP_SHARE = 0.35
_ATTEMPTS = 24


def write_dialogue(
    slide: SymbolicSlide | None,
    rng: np.random.Generator,
    language: Language,
    kinds: Collection[str] | None = None,
    *,
    split: Split = "train",
    balance: Balance | None = None,
    num_turns: int | None = None,
) -> list[QA]:
    """Write one dialogue of one to four questions about a slide.

    Args:
        slide: what is asked about; None for a chat without a slide.
        rng: all choices come from it.
        language: of questions and answers.
        kinds: kinds that may be asked; all by default. Without a slide only "cannot" and "help".
        split: "test" draws question wordings that "train" never draws.
        balance: carries the counts from dialogue to dialogue, which is what keeps answers
            balanced; pass the same one through a whole run.
        num_turns: number of questions; drawn by default.

    Returns:
        The questions in order; empty where none of the kinds fits this slide.

    Raises:
        ConfigError: a kind is unknown.
    """
    allowed, cumulative = _weights(frozenset(kinds) if kinds is not None else None, slide is None)
    reading = Reading(slide) if slide is not None else None
    asker = Asker(rng, language, split, balance or Balance(), reading)
    turns: list[QA] = []
    wanted = num_turns or _TURNS[int(rng.random() * len(_TURNS))]
    for _ in range(_ATTEMPTS):
        if len(turns) == wanted or not allowed:
            break
        ask = None
        if turns and reading is not None and rng.random() < _FOLLOW_UP_SHARE:
            ask = ask_follow_up
        else:
            kind = allowed[int(np.searchsorted(cumulative, rng.random(), side="right"))]
            ask = QUESTIONS[kind][0]
        topic, last = asker.topic, asker.kind
        qa = ask(asker)
        if qa is None or qa.kind not in allowed:
            asker.topic, asker.kind = topic, last
        else:
            turns.append(qa)
    return turns


@functools.cache
def _weights(
    kinds: frozenset[str] | None, without_slide: bool
) -> tuple[tuple[Kind, ...], np.ndarray]:
    """Kinds to draw from, with their cumulative probability."""
    if kinds is not None and (unknown := kinds - QUESTIONS.keys()):
        raise ConfigError(
            f"unknown question kinds {sorted(unknown)}", hint=f"Known: {', '.join(QUESTIONS)}"
        )
    chosen: tuple[Kind, ...] = tuple(k for k in QUESTIONS if kinds is None or k in kinds)
    if without_slide:
        chosen = tuple(k for k in chosen if k in ("cannot", "help"))
    weight = np.array([QUESTIONS[kind][1] for kind in chosen])
    cumulative = np.cumsum(weight) / weight.sum() if chosen else weight
    return chosen, np.minimum(cumulative, 1.0)
