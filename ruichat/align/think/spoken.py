"""Dialogues as thinking is taught on them: some answers with a thought before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ruichat.align.dialogue_batches import turns_of
from ruichat.align.think.config import ThoughtOptions
from ruichat.errors import InputError
from ruichat.model.processing import Turn
from ruichat.truth.datasets.checkable import checkable
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.dialogues.chains import write_given


def thinking_turns(dialogue: Dialogue, seed: Sequence[int], options: ThoughtOptions) -> list[Turn]:
    """Questions and answers; which answers are thought about is the seed's choice.

    Args:
        dialogue: of a file.
        seed: all choices come from it.
        options: how many answers, and in whose words.
    """
    rng = np.random.default_rng((*seed, 1))
    thoughts = thoughts_of(dialogue, options)
    thinks = rng.random(len(thoughts)) < options.thoughts
    return [
        replace(turn, thought=thought if own else "")
        for turn, thought, own in zip(turns_of(dialogue, seed), thoughts, thinks, strict=True)
    ]


def thoughts_of(dialogue: Dialogue, options: ThoughtOptions) -> list[str]:
    """The thought before each answer: the file's own, or one from what can be checked; or ""."""
    found: list[str] = []
    for asked, said in zip(dialogue.turns[::2], dialogue.turns[1::2], strict=True):
        thought = said.thought or ""
        kind = checkable(asked, said, dialogue.kind)
        if not thought and options.write and kind is not None:
            thought = write_given(asked, said, kind, dialogue.language)
        found.append(thought)
    return found


def require_thoughts(dialogues: Sequence[Dialogue], options: ThoughtOptions) -> None:
    """Refuse data on which nothing would be thought.

    Raises:
        InputError: no answer has a thought, and none is written.
    """
    if any(any(thoughts_of(dialogues[at], options)) for at in range(len(dialogues))):
        return
    raise InputError(
        "no answer of the training data has a thought, and none can be written",
        hint="Give thoughts in the files" + ("" if options.write else ", or set teach.write: true"),
    )
