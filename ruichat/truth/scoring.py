"""Whether an answer is right, and whether what it cites shows what it says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ruichat.model.vocabulary import CANNOT
from ruichat.truth.dialogues import QA

_NAME = re.compile(r"\[R(\d+)\]")


@dataclass(frozen=True, slots=True)
class Score:
    """One answer against its truth.

    Attributes:
        correct: the short answer is the true one; None for kinds without one.
        cited: regions cited, from 0, each once.
        num_right: cited regions whose citation isn't wrong.
        num_found: regions of the evidence that are cited.
    """

    correct: bool | None
    cited: tuple[int, ...]
    num_right: int
    num_found: int


def score_answer(qa: QA, answer: str) -> Score:
    """Score the model's raw words.

    A question that can't be answered is answered rightly by refusing, any other by the option
    whose words come first. Where a question has no options, none of its words are judged.
    """
    refused = answer.lstrip().startswith(CANNOT)
    if qa.kind == "cannot":
        correct: bool | None = refused
    elif qa.options:
        correct = not refused and qa.read_key(answer) == qa.key
    else:
        correct = None if not refused else False
    cited = tuple(dict.fromkeys(int(number) - 1 for number in _NAME.findall(answer)))
    return Score(
        correct=correct,
        cited=cited,
        num_right=len(set(cited) & set(qa.allowed)),
        num_found=len(set(cited) & set(qa.evidence)),
    )
