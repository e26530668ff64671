"""What of an answer in a dialogue file a program can check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, get_args

from ruichat.model.vocabulary import CANNOT
from ruichat.truth.datasets.dialogue import Dialogue, Kind, Turn, cited_numbers
from ruichat.truth.datasets.finding import Severity, Wrong

Checkable = Literal["option", "polar", "value", "regions", "refusal"]
"""By what: the option that is chosen, yes or no, a value word for word, the regions that are cited,
or that nothing can be told."""

KINDS: tuple[Checkable, ...] = get_args(Checkable)

MAX_VALUE_CHARS = 40
"""Longest answer that is a value and no sentence. Ours: room for a grade, a stage, a diagnosis."""

_CITED = re.compile(r"(?:\s*\[R[0-9]{1,9}\])+")
_POLAR = re.compile(r"(yes|no|是的?|否)(?=$|[,.:;!，。：；！])")
_POLES = {"yes": "Yes", "no": "No", "是": "是", "是的": "是", "否": "否"}


def checkable(asked: Turn, said: Turn, kind: Kind = "question") -> Checkable | None:
    """By what an answer can be checked; None for free text that cites nothing.

    Args:
        asked: the question.
        said: its answer.
        kind: of the dialogue; reports and captions hold no values.
    """
    if said.text.lstrip().startswith(CANNOT):
        return "refusal"
    if asked.options:
        return "option"
    if kind == "question" and polar_of(said.text):
        return "polar"
    if kind == "question" and 0 < len(plain_value(said.text)) <= MAX_VALUE_CHARS:
        return "value"
    return "regions" if any(True for _ in cited_numbers(said.text)) else None


def polar_of(text: str) -> str | None:
    """Yes or no, where an answer is no more or goes on after a comma or the like; else None."""
    found = _POLAR.match(plain_value(text))
    return _POLES[found[1]] if found else None


def plain_value(text: str) -> str:
    """A value as it is compared: without citations, case and final stop, spaces alike."""
    return " ".join(_CITED.sub(" ", text).split()).rstrip(".。 ").casefold()


def require_checkable(dialogue: Dialogue) -> Iterator[tuple[Wrong, Severity]]:
    """Look for a dialogue that nothing can be rewarded for: an `Extra` of `read_dialogues`."""
    pairs = zip(dialogue.turns[::2], dialogue.turns[1::2], strict=True)
    if any(checkable(asked, said, dialogue.kind) for asked, said in pairs):
        return
    wrong = Wrong(
        "turns",
        "not_checkable",
        "no answer can be checked: none is an option, yes or no, a value of at most "
        f"{MAX_VALUE_CHARS} characters, or cites a region",
        "Give options or cite regions; or set `unchecked: teach`, which learns it without rewards",
    )
    yield wrong, "error"
