"""Questions about the test slides, balanced over kinds, languages and wordings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ruichat.evaluate.config import SlideSuite
from ruichat.evaluate.slides import TestSlide
from ruichat.histology import BY_KEY, Language
from ruichat.truth.dialogues import KINDS, QA, Balance, Kind, write_dialogue
from ruichat.truth.dialogues import Split as Wording

LANGUAGES: tuple[Language, ...] = ("en", "zh")

PERCEPTUAL = (
    "presence",
    "presence_where",
    "where",
    "type",
    "choice",
    "organ",
    "content",
    "region_presence",
    "dominant",
    "amount",
    "side",
    "compare",
    "describe",
)
"""Labels of questions that can't be answered without looking."""

_SHARES: dict[Kind, int] = {"type": 3, "compare": 2}
"""Kinds that come in several forms are asked more often."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question about one slide.

    Attributes:
        slide: it is about.
        qa: question and truth.
    """

    slide: TestSlide
    qa: QA

    @property
    def label(self) -> str:
        """The kind; listed options, organs and measured numbers apart."""
        return question_label(self.qa)


def question_label(qa: QA) -> str:
    """Name of the group in which a question is scored."""
    if qa.kind == "type" and not qa.topic:
        return "organ"
    if qa.kind == "type" and "none" not in qa.options:
        return "choice"
    if qa.kind == "amount" and not qa.options:
        return "measured"
    return qa.kind


def draw_questions(slides: Sequence[TestSlide], config: SlideSuite, *, seed: int) -> list[Asked]:
    """Ask every slide about the kinds asked least so far.

    Each question opens a chat of its own, as `ruichat ask` does. Answers are balanced within each
    question, so that a model that never looks gains nothing from knowing how often "yes" is true.
    """
    balance: dict[Wording, Balance] = {"train": Balance(), "test": Balance()}
    counts: Counter[tuple[Language, Wording, Kind]] = Counter()
    asked: list[Asked] = []
    for slide in slides:
        rng = np.random.default_rng((seed, 2, slide.number))
        for _ in range(config.questions_per_slide):
            language: Language = LANGUAGES[int(rng.integers(2))]
            wording: Wording = "test" if rng.random() < config.held_out_wordings else "train"
            order = sorted(
                (KINDS[i] for i in rng.permutation(len(KINDS))),
                key=lambda kind: counts[language, wording, kind] / _SHARES.get(kind, 1),
            )
            for kind in order:
                turns = write_dialogue(
                    slide.truth,
                    rng,
                    language,
                    (kind,),
                    split=wording,
                    balance=balance[wording],
                    num_turns=1,
                )
                if turns:
                    counts[language, wording, kind] += 1
                    asked.append(Asked(slide, turns[0]))
                    break
    return asked


def reorder_options(qa: QA) -> QA | None:
    """The same question with every listed option at another letter; None if it lists none."""
    if question_label(qa) != "choice":
        return None
    names = [BY_KEY[key].name(qa.language) for key in qa.options]
    pattern = "(.{1,10}?)".join(f"({re.escape(name)})" for name in names) + r"(\W*)$"
    found = re.search(pattern, qa.question, re.DOTALL)
    if found is None:
        return None
    parts = list(found.groups())
    parts[: 2 * len(names) : 2] = names[1:] + names[:1]
    question = qa.question[: found.start()] + "".join(parts)
    return replace(
        qa,
        question=question,
        options=qa.options[1:] + qa.options[:1],
        markers=qa.markers[1:] + qa.markers[:1],
    )
