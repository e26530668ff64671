"""What a model wrote, taken apart into thought and answer, by ids and never by spelling."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ruichat.model.vocabulary import CANNOT

Fault = Literal[
    "",
    "no_thought",
    "thought_open",
    "thought_again",
    "thought_empty",
    "answer_empty",
    "unfinished",
    "structure",
]
"""What is wrong with the form; empty where nothing is."""

_STRUCTURE = re.compile(r"<\|/?[a-z]+\|>")
_WORD = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids that give an answer its form.

    Attributes:
        think: opens the thought.
        think_end: closes it.
        end: closes the answer.
    """

    think: int
    think_end: int
    end: int


@dataclass(frozen=True, slots=True)
class Written:
    """One completion.

    Attributes:
        thought: its words, without the pieces around them.
        answer: what follows the thought; empty where the form is broken, since no part can then
            be told to be the answer.
        thought_ids: text tokens of the thought.
        num_answer: text tokens of the answer.
        fault: what is wrong with the form.
    """

    thought: str
    answer: str
    thought_ids: tuple[int, ...]
    num_answer: int
    fault: Fault


def read_written(
    ids: Sequence[int], marks: Marks, decode: Callable[[Sequence[int]], str]
) -> Written:
    """Take a completion apart.

    Args:
        ids: what the model wrote, from its first piece to its end where it reached one.
        marks: the ids that matter.
        decode: spells ids.
    """
    finished = bool(ids) and ids[-1] == marks.end
    body = list(ids[:-1] if finished else ids)
    if not body or body[0] != marks.think:
        return _broken("no_thought")
    if marks.think_end not in body:
        return _broken("thought_open", body[1:])
    close = body.index(marks.think_end)
    thought, answer = body[1:close], body[close + 1 :]
    if marks.think in thought or marks.think in answer or marks.think_end in answer:
        return _broken("thought_again", thought)
    words, said = decode(thought), decode(answer)
    if not _WORD.search(words):
        return _broken("thought_empty", thought)
    if not _WORD.search(said):
        return _broken("answer_empty", thought)
    if not finished:
        return _broken("unfinished", thought)
    if _STRUCTURE.search(words) or _STRUCTURE.search(said.lstrip().removeprefix(CANNOT)):
        return _broken("structure", thought)
    return Written(words, said, tuple(thought), len(answer), "")


def _broken(fault: Fault, thought: Sequence[int] = ()) -> Written:
    return Written("", "", tuple(thought), 0, fault)
