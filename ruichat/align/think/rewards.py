"""Rewards that can be checked: the right answer, the right regions, the form, the length.

Each is a pure function into 0..1. Where the form is broken the others are 0: no part of the text
can be told to be the answer, and nothing hidden in a thought may earn what an answer earns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from ruichat.align.think.written import Written
from ruichat.config import Config
from ruichat.model.vocabulary import CANNOT
from ruichat.truth.datasets.checkable import Checkable, plain_value, polar_of
from ruichat.truth.datasets.dialogue import Turn, cited_numbers
from ruichat.truth.dialogues import QA
from ruichat.truth.dialogues.qa import first_said

_RUN = re.compile(r"(?:\[R\d{1,9}\]\s*)+")
_FACT = re.compile(r"\{[a-z0-9_]+\}")

_POLES = (("Yes", "No"), ("是", "否"))

REPEAT_TOKENS = 12
"""Text tokens in a row that no honest thought repeats. Ours: looking at a region takes fewer and
names it, so that even equal tissues are told in other words."""


class RewardConfig(Config):
    """What counts, and how much."""

    right: float = Field(default=1.0, ge=0)
    """Weight of the right option, value or refusal."""
    cited: float = Field(default=0.5, ge=0)
    """Weight of the cited regions."""
    form: float = Field(default=0.25, ge=0)
    """Weight of one thought, closed, before one answer."""
    length: float = Field(default=0.25, ge=0)
    """Weight of the length."""
    min_thought: int = Field(default=4, ge=1)
    """Shortest thought of full worth, text tokens."""
    max_thought: int = Field(default=384, ge=1)
    """Longest thought of full worth, text tokens; at twice that nothing is left."""
    max_answer: int = Field(default=160, ge=1)
    """Longest answer of full worth, text tokens; at twice that nothing is left."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What an answer is measured against.

    Attributes:
        kind: of the question, for scores by kind.
        answer: the right one as it would be written; its citations say how much is to be cited.
        key: the right option; empty where there are none.
        options: keys that could be right.
        markers: words by which an answer gives each option.
        refuse: the question can't be answered.
        evidence: regions that support the answer.
        allowed: regions whose citation isn't wrong; holds all of `evidence`.
        area_mm2: of every region of the slide.
        loose: of a dialogue file, whose words aren't ours: markers are found as whole words only,
            values compared by their words, both whatever their case.
    """

    kind: str
    answer: str
    key: str = ""
    options: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    refuse: bool = False
    evidence: tuple[int, ...] = ()
    allowed: tuple[int, ...] = ()
    area_mm2: tuple[float, ...] = ()
    loose: bool = False

    @classmethod
    def of_question(cls, qa: QA, area_mm2: Sequence[float]) -> Truth:
        """Of a question that was written from a slide's truth."""
        return cls(
            kind=qa.kind,
            answer=qa.answer,
            key=qa.key if qa.options else "",
            options=qa.options,
            markers=qa.markers,
            refuse=qa.kind == "cannot",
            evidence=qa.evidence,
            allowed=qa.allowed,
            area_mm2=tuple(area_mm2),
        )

    @classmethod
    def of_turn(cls, asked: Turn, said: Turn, kind: Checkable, area_mm2: Sequence[float]) -> Truth:
        """Of a question in a dialogue file: an option, yes or no, a value word for word, a refusal.

        The regions that the file's answer cites are the truth; without any, none is asked for.

        Args:
            asked: the question.
            said: its answer.
            kind: by what the answer can be checked; see `truth.datasets.checkable`.
            area_mm2: of every region of the slide.
        """
        options, key = (), ""
        if kind == "option":
            options, key = tuple(one.strip() for one in asked.options), said.text.strip()
        elif kind == "polar":
            key = polar_of(said.text) or ""
            options = next(pair for pair in _POLES if key in pair)
        regions = tuple(sorted({n - 1 for n in cited_numbers(said.text)}))
        return cls(
            kind=kind,
            answer=said.text,
            key=key,
            options=options,
            markers=options,
            refuse=kind == "refusal",
            evidence=regions,
            allowed=regions,
            area_mm2=tuple(area_mm2),
            loose=True,
        )


def right(truth: Truth, answer: str) -> float:
    """1 for the right option, value or refusal.

    Of several options in an answer the first counts. A measured value is right if exactly the
    facts that are due are quoted, so that quoting all of them earns nothing.
    """
    refused = answer.lstrip().startswith(CANNOT)
    if truth.refuse or refused:
        return float(truth.refuse and refused)
    if truth.options:
        return float(_chosen(truth, answer) == truth.key)
    facts = set(_FACT.findall(truth.answer))
    if facts:
        return float(facts == set(_FACT.findall(answer)))
    if truth.loose:
        return float(plain_value(answer) == plain_value(truth.answer))
    return float(" ".join(answer.split()) == " ".join(truth.answer.split()))


def _chosen(truth: Truth, answer: str) -> str | None:
    if not truth.loose:
        return first_said(truth.options, truth.markers, answer)
    found: list[tuple[int, int, str]] = []
    for option, marker in zip(truth.options, truth.markers, strict=True):
        # Chinese has no spaces between words: only letters and digits end a word, and what is
        # denied is another.
        pattern = rf"(?<![A-Za-z0-9不]){re.escape(marker)}(?![A-Za-z0-9])"
        if match := re.search(pattern, answer, re.IGNORECASE):
            found.append((match.start(), -len(marker), option))
    return min(found)[2] if found else None


def cited(truth: Truth, answer: str) -> float:
    """How far the cited regions are those that are due: F1 of precision and recall by area.

    Due is as much of the evidence as the right answer cites. A region named twice in a row counts
    as wrong the second time, and so does one that the slide hasn't, at the mean area.
    """
    due = _area(truth, {n - 1 for n in cited_numbers(truth.answer)} & set(truth.evidence))
    runs = [[n - 1 for n in cited_numbers(run[0])] for run in _RUN.finditer(answer)]
    found = {region for run in runs for region in run}
    again = [region for run in runs for region in (Counter(run) - Counter(set(run))).elements()]
    good = _area(truth, found & set(truth.allowed))
    wrong = _area(truth, found - set(truth.allowed)) + _area(truth, again)
    if due == 0:
        return float(wrong == 0)
    recall = min(1.0, _area(truth, found & set(truth.evidence)) / due)
    if recall == 0:
        return 0.0
    precision = good / (good + wrong)
    return 2 * precision * recall / (precision + recall)


def _area(truth: Truth, regions: Iterable[int]) -> float:
    area = truth.area_mm2
    mean = sum(area) / len(area) if area else 1.0
    return sum(area[r] if 0 <= r < len(area) else mean for r in sorted(regions))


def fitting(written: Written, config: RewardConfig) -> float:
    """1 for a thought and an answer of fair length that don't go round in circles."""
    n = len(written.thought_ids)
    share = _within(n, config.max_thought) * _within(written.num_answer, config.max_answer)
    return share * min(1.0, n / config.min_thought) * fluency(written.thought_ids)


def _within(num: int, most: int) -> float:
    return max(0.0, min(1.0, 2 - num / most))


def fluency(ids: Sequence[int]) -> float:
    """Share of runs of `REPEAT_TOKENS` that occur for the first time."""
    num = len(ids) - REPEAT_TOKENS + 1
    if num <= 1:
        return 1.0
    return len({tuple(ids[i : i + REPEAT_TOKENS]) for i in range(num)}) / num


def score(written: Written, truth: Truth, config: RewardConfig) -> Mapping[str, float]:
    """All rewards of a completion, 0..1 each, by name."""
    if written.fault:
        return dict.fromkeys(NAMES, 0.0)
    return {
        "right": right(truth, written.answer),
        "cited": cited(truth, written.answer),
        "form": 1.0,
        "length": fitting(written, config),
    }


NAMES = ("right", "cited", "form", "length")
"""Rewards in the order of their weights."""
