"""A thought from what a dialogue file states: what is offered, which regions count, what follows."""

from __future__ import annotations

import numpy as np

from ruichat.histology import Language
from ruichat.truth.datasets.checkable import Checkable, polar_of
from ruichat.truth.datasets.dialogue import Turn, cited_numbers
from ruichat.truth.dialogues.chains.thinker import load_wordings

_JOINTS: dict[Language, tuple[str, str]] = {"en": ("; ", " "), "zh": ("；", "")}
"""Between options, and between sentences."""

_STOPS = ".。 "


def write_given(asked: Turn, said: Turn, kind: Checkable, language: Language) -> str:
    """A thought that says no more than the file does.

    Args:
        asked: the question.
        said: its answer.
        kind: by what the answer can be checked.
        language: of both.

    Returns:
        Sentences; regions are written "[R7]" and are those that the answer cites.
    """
    between, joint = _JOINTS[language]
    options = between.join(option.strip() for option in asked.options)
    sentences = [_say(language, f"given_{kind}", N=options)]
    regions = "".join(f"[R{number}]" for number in dict.fromkeys(cited_numbers(said.text)))
    if regions:
        sentences.append(_say(language, "given_rests", R=regions))
    answer = polar_of(said.text) if kind == "polar" else said.text.strip().rstrip(_STOPS)
    if kind in ("option", "polar", "value"):
        sentences.append(_say(language, "given_so", X=str(answer)))
    return joint.join(sentences)


def _say(language: Language, name: str, **slots: str) -> str:
    """The first wording: a file's own thoughts are the place for richer ones."""
    text = load_wordings(language)[name][0].draw(np.random.default_rng(0))
    for slot, value in slots.items():
        text = text.replace(f"{{{slot}}}", value)
    return text
