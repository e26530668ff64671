"""One question with its answer and what is needed to score another answer against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ruichat.histology import Language

Split = Literal["train", "test"]
"""Whose question wordings: a model is trained on those of "train" only."""

Kind = Literal[
    "presence",
    "presence_where",
    "where",
    "type",
    "content",
    "region_presence",
    "dominant",
    "amount",
    "side",
    "compare",
    "describe",
    "quality",
    "cannot",
    "help",
]

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class QA:
    """A question, the answer a model should give, and its truth.

    Attributes:
        question: as a user would type it; regions are written "[R7]".
        answer: with citations "[R7]" and fact pieces "{tumour_percent}"; one that can't be
            given starts with the piece "<|cannot|>".
        language: of question and answer.
        kind: what is asked.
        key: the short answer: "yes", "no", a class key, "left", "R3", or why it can't be given.
        evidence: regions, from 0, that support the answer (half of the region or more).
        allowed: regions whose citation isn't wrong (a quarter or more); holds all of `evidence`.
        options: keys that could have been the answer, where they are few; holds `key`.
        markers: for each option the words by which an answer in this language says it. An
            answer's key is the option whose marker comes first, the longest one of those.
        topic: what was asked about, a class key or "tumour"; empty where nothing was.
        split: whose wordings the question was drawn from.
    """

    question: str
    answer: str
    language: Language
    kind: Kind
    key: str
    evidence: tuple[int, ...] = ()
    allowed: tuple[int, ...] = ()
    options: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    topic: str = ""
    split: Split = "train"

    def read_key(self, answer: str) -> str | None:
        """Which of the options another answer to this question gives; None if it gives none."""
        return first_said(self.options, self.markers, answer)


def first_said(options: Sequence[str], markers: Sequence[str], text: str) -> str | None:
    """The option whose marker comes first in a text, the longest one of those; None without any."""
    found = [
        (text.find(marker), -len(marker), option)
        for option, marker in zip(options, markers, strict=True)
        if marker in text
    ]
    return min(found)[2] if found else None
