"""All answers of a run, scored under every condition, and the rows of its report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ruichat.evaluate.benchmark.answers import AnswerFile, Given
from ruichat.evaluate.benchmark.cases import KINDS, Case, Question
from ruichat.evaluate.benchmark.citing import (
    CITED,
    MOVES,
    Boxes,
    mark_chance,
    mark_citations,
    mark_moves,
    num_cited,
)
from ruichat.evaluate.benchmark.plan import BLIND, OTHER, TRUE, rotated
from ruichat.evaluate.benchmark.priors import Majority, borrow_answers
from ruichat.evaluate.benchmark.scoring import (
    METRICS,
    Marks,
    Metric,
    choose,
    is_abstained,
    likeliest,
    mark,
    mark_guess,
    mark_prior,
    ratio,
    share,
)
from ruichat.evaluate.metrics import Bootstrap, Contrast, Estimate
from ruichat.evaluate.report import Row
from ruichat.evaluate.tile_scores import Draws

MAJORITY, BORROWED, CHANCE = "majority", "borrowed", "chance"
MOVED, MOVED_LIKELIHOOD = "moved", "moved, by likelihood"

LEADING = frozenset({"accuracy, as answered", "recall of words", "ROUGE-L"})
"""Scores that stand in the table for parts of the data too."""

BY_LIKELIHOOD = "by likelihood"
STATES = ("not answered", "cut off", "left open")

Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Scored:
    """The questions of a run with what each answer adds to the scores.

    Attributes:
        questions: that were asked.
        base: condition that the scores are of: `TRUE`, or `BLIND` where there are no slides.
        marks: by condition, as long as `questions` each; None where it doesn't apply.
    """

    questions: tuple[Question, ...]
    base: str
    marks: Mapping[str, Sequence[Marks | None]]


def score_answers(
    cases: Sequence[Case], num: int, answers: AnswerFile, *, blind: bool, seed: int, tick: Tick
) -> Scored:
    """Score what was answered about the first `num` dialogues.

    Args:
        cases: all dialogues; priors are taken over all of them.
        num: dialogues that were asked.
        answers: of the run.
        blind: no slide was shown to anybody.
        seed: of whose reference is borrowed.
        tick: told of dialogues done.
    """
    base = BLIND if blind else TRUE
    everything = [question for case in cases for question in case.questions]
    borrowed = borrow_answers(everything, seed=seed)
    by_question = {_place(everything[at]): given for at, given in borrowed.items()}
    majority = Majority(everything)
    rows: list[dict[str, Marks | None]] = []
    for done, case in enumerate(cases[:num]):
        tick(done, num)
        for question in case.questions:
            own = _mark_case(case, question, answers, base)
            for name, given in (
                (MAJORITY, majority.answer(question)),
                (BORROWED, by_question.get(_place(question))),
            ):
                own[name] = None if given is None else mark_prior(question, given)
            rows.append(own)
    tick(num, num)
    names = dict.fromkeys(name for row in rows for name in row)
    marks = {name: tuple(row.get(name) for row in rows) for name in names}
    asked = tuple(question for case in cases[:num] for question in case.questions)
    return Scored(asked, base, marks)


def _place(question: Question) -> tuple[str, int]:
    return question.case, question.turn


def _mark_case(
    case: Case, question: Question, answers: AnswerFile, base: str
) -> dict[str, Marks | None]:
    """Marks of one question under each condition that it was asked under."""

    def given(condition: str) -> Given | None:
        found = answers.given(case.key, condition)
        return found[question.turn] if found else None

    line = answers.lines.get(f"{case.key} {TRUE}")
    boxes = line.boxes if line is not None else ()
    own: dict[str, Marks | None] = {}
    for condition in dict.fromkeys((base, BLIND, OTHER)):
        one = given(condition)
        if one is None and condition == base:
            own[base] = {**mark(question, Given("")), "not answered": share(True)}
        elif one is not None:
            own[condition] = {
                **mark(question, one),
                **mark_citations(one.text, question.answer, boxes, _truth(case, boxes)),
                "not answered": share(False),
                "cut off": share(one.cut),
                "left open": share(is_abstained(question, one.text)),
            }
    first = given(base)
    guessed = mark_guess(question)
    if first is not None:
        num = num_cited(first.text, boxes)
        guessed |= mark_chance(question.answer, boxes, _truth(case, boxes), num_cited=num)
        # Its dialogue may hold longer lists, which are moved on after this one is back in place.
        places = range(1, len(question.options))
        moved = [first, *(one for i in places if (one := given(rotated(i))) is not None)]
        if question.kind == "choice" and len(moved) > 1:
            own[MOVED] = mark_moves(question, moved, choose)
            if first.scores is not None:
                own[MOVED_LIKELIHOOD] = mark_moves(question, moved, lambda _, g: likeliest(g))
    own[CHANCE] = guessed
    return own


def _truth(case: Case, boxes: Boxes) -> Boxes:
    """Where the regions lie that the reference's names mean."""
    stated = case.dialogue.regions
    if not stated:
        return boxes if case.dialogue.num_regions is not None else ()
    return [(box.x, box.y, box.width, box.height) for box in stated]


class Scorer:
    """Turns marks into estimates, over any part of the questions.

    Args:
        scored: the marks.
        draws: bootstrap over patients.
    """

    def __init__(self, scored: Scored, draws: Draws) -> None:
        self._scored, self._draws = scored, draws
        self._unit = np.array([question.unit for question in scored.questions])
        self._boots: dict[bytes, Bootstrap] = {}

    def estimate(self, metric: Metric, condition: str, here: Sequence[int]) -> Estimate | None:
        """A score over some questions under a condition; None where none was asked so."""
        rows, columns = self._columns(metric, condition, here)
        if not len(rows):
            return None
        return self._boot(rows).of_sums(columns, metric.of_sums, metric.num_behind(columns))

    def contrast(self, metric: Metric, one: str, two: str, here: Sequence[int]) -> Contrast | None:
        """A score under one condition minus another, over the questions asked under both."""
        rows = self.common(metric, one, two, here)
        if not rows:
            return None
        first, second = (self._columns(metric, name, rows)[1] for name in (one, two))
        return self._boot(rows).contrast(first, second, metric.of_sums, metric.num_behind(first))

    def common(self, metric: Metric, one: str, two: str, here: Sequence[int]) -> list[int]:
        """Those of some questions that have a score under both conditions."""
        both = (set(self._columns(metric, name, here)[0]) for name in (one, two))
        return sorted(set.intersection(*both))

    def _columns(
        self, metric: Metric, condition: str, here: Sequence[int]
    ) -> tuple[list[int], NDArray[np.float64]]:
        marks = self._scored.marks.get(condition, ())
        rows = [i for i in here if i < len(marks) and metric.name in (marks[i] or {})]
        columns = [(marks[i] or {})[metric.name] for i in rows]
        return rows, np.array(columns, np.float64).reshape(len(rows), metric.width)

    def _boot(self, rows: Sequence[int]) -> Bootstrap:
        key = np.array(rows, np.int64).tobytes()
        if key not in self._boots:
            self._boots[key] = self._draws.over(self._unit[list(rows)])
        return self._boots[key]


def build_rows(scored: Scored, draws: Draws) -> list[Row]:
    """The rows of a report: kind by kind, each score beside its controls."""
    scorer = Scorer(scored, draws)
    rows: list[Row] = []
    for kind in KINDS:
        here = [i for i, question in enumerate(scored.questions) if question.kind == kind]
        if not here:
            continue
        own = [metric for metric in METRICS if kind in metric.kinds]
        row = partial(_row, scorer, scored.base, kind)
        rows += [one for metric in own if (one := row(metric, here, "")) is not None]
        rows += _looking(scorer, scored.base, kind, own, here)
        rows += _moves(scorer, kind, here)
        cited = [one for metric in CITED if (one := row(metric, here, "")) is not None]
        rows += cited
        for where, part in _parts(scored.questions, here):
            rows += [one for metric in own if (one := row(metric, part, where)) is not None]
    everything = range(len(scored.questions))
    states = [Metric(name, KINDS, ratio) for name in STATES]
    row = partial(_row, scorer, scored.base, "all")
    return rows + [one for metric in states if (one := row(metric, everything, "")) is not None]


def _row(
    scorer: Scorer, base: str, section: str, metric: Metric, here: Sequence[int], where: str
) -> Row | None:
    score = scorer.estimate(metric, base, here)
    if score is None:
        return None
    controls = {
        name: estimate
        for name in (BLIND, OTHER, MAJORITY, BORROWED, CHANCE)
        if name != base and (estimate := scorer.estimate(metric, name, here)) is not None
    }
    detail = not metric.main or (bool(where) and metric.name not in LEADING)
    return Row(section, metric.name, score, controls, where=where, detail=detail)


def _looking(
    scorer: Scorer, base: str, kind: str, metrics: Sequence[Metric], here: Sequence[int]
) -> Iterator[Row]:
    """What the slide adds: the score on it minus the score without, and on another's."""
    if base == BLIND:
        return
    for name, where in ((BLIND, "slide minus none"), (OTHER, "slide minus another's")):
        for metric in metrics:
            gap = scorer.contrast(metric, base, name, here)
            if gap is not None:
                detail = metric.name not in LEADING
                yield Row(kind, metric.name, gap.difference, where=where, p=gap.p, detail=detail)


def _moves(scorer: Scorer, kind: str, here: Sequence[int]) -> Iterator[Row]:
    for condition, where in ((MOVED, ""), (MOVED_LIKELIHOOD, BY_LIKELIHOOD)):
        for metric in MOVES:
            score = scorer.estimate(metric, condition, here)
            if score is not None:
                yield Row(kind, metric.name, score, where=where)


def _parts(questions: Sequence[Question], here: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """The files and languages of some questions, where there are several."""
    for read in (lambda q: q.file, lambda q: q.language):
        names = sorted({read(questions[i]) for i in here})
        if len(names) > 1:
            for name in names:
                yield name, [i for i in here if read(questions[i]) == name]
