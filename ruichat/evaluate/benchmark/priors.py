"""Answers that no model gave: the majority's, and another patient's reference."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ruichat.evaluate.benchmark.answers import Given
from ruichat.evaluate.benchmark.cases import Question
from ruichat.evaluate.judging import fold


@dataclass
class _Tally:
    """What is right how often, over all and by patient, so that one's own can be left out."""

    whole: Counter[str] = field(default_factory=Counter[str])
    own: defaultdict[str, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter[str])  # pyright: ignore[reportUnknownLambdaType]
    )

    def add(self, unit: str, what: str) -> None:
        self.whole[what] += 1
        self.own[unit][what] += 1

    def of_others(self, unit: str, what: str) -> int:
        return self.whole[what] - self.own[unit][what]

    def most(self, unit: str) -> str | None:
        """What is right most often among others; of equals what sorts first."""
        found = [(-self.of_others(unit, what), what) for what in self.whole]
        best = min(found, default=(0, ""))
        return best[1] if best[0] < 0 else None


class Majority:
    """What is right most often, among the questions of other patients.

    With options it is the option whose words are right most often elsewhere, or where none of
    them ever is, the place in the list that is right most often.

    Args:
        questions: all of them, whatever is asked.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        self._words, self._places = _Tally(), _Tally()
        self._closed, self._open = _Tally(), _Tally()
        self._spelled: dict[str, str] = {}
        for one in questions:
            if one.right is not None:
                self._words.add(one.unit, fold(one.options[one.right]))
                self._places.add(one.unit, f"{one.right:03d}")
            elif one.right_polarity is not None:
                self._closed.add(one.unit, one.right_polarity)
            elif one.kind == "open":
                self._spelled.setdefault(fold(one.answer), one.answer)
                self._open.add(one.unit, fold(one.answer))

    def answer(self, question: Question) -> Given | None:
        """The majority's answer; None for reports, or where nobody else was asked."""
        unit = question.unit
        if question.kind == "choice":
            return self._option(question)
        if question.kind == "closed":
            said = self._closed.most(unit)
        elif question.kind == "open":
            key = self._open.most(unit)
            said = None if key is None else self._spelled[key]
        else:
            return None
        return None if said is None else Given(said)

    def _option(self, question: Question) -> Given | None:
        unit, options = question.unit, question.options
        counts = [self._words.of_others(unit, fold(option)) for option in options]
        if max(counts) > 0:
            best = int(np.argmax(counts))
        else:
            places = [self._places.of_others(unit, f"{at:03d}") for at in range(len(options))]
            if max(places) == 0:
                return None
            best = int(np.argmax(places))
        return Given(options[best], tuple(range(len(options))))


def borrow_answers(questions: Sequence[Question], *, seed: int) -> dict[int, Given]:
    """For questions in free words the reference of another patient's, of like kind and language.

    Returns:
        Answers by the question's place; none where there is no other patient.
    """
    borrowed: dict[int, Given] = {}
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, one in enumerate(questions):
        if one.kind in ("open", "report", "caption"):
            alike[one.kind, one.language].append(at)
    for places in alike.values():
        rng = np.random.default_rng((seed, 3))
        ring = [places[i] for i in rng.permutation(len(places))]
        for at, place in enumerate(ring):
            others = (*ring[at + 1 :], *ring[:at])
            unit = questions[place].unit
            other = next((i for i in others if questions[i].unit != unit), None)
            if other is not None:
                borrowed[place] = Given(questions[other].answer)
    return borrowed
