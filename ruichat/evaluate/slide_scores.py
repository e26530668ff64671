"""Scores of answers about slides: right, cited, refused, and as sure as they may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ruichat.chat.answer import Answer
from ruichat.chat.question import named_regions
from ruichat.evaluate.controls import Condition
from ruichat.evaluate.metrics import Estimate, accuracy_at_coverage, calibration_gap
from ruichat.evaluate.questions import LANGUAGES, PERCEPTUAL, Asked
from ruichat.evaluate.report import Row
from ruichat.evaluate.rules import RuleAnswer
from ruichat.evaluate.tile_scores import Draws
from ruichat.model.vocabulary import CANNOT
from ruichat.truth.scoring import score_answer

QUESTIONS = "Slide questions, share right"
DIFFERENCES = "Slide questions, differences"
CITATIONS = "Citations"
WORDS = "No looking needed, share right"
REFUSALS = "Refused, share"
CALIBRATION = "Confidence"

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
_FACT = re.compile(r"\{[a-z0-9_]+\}")
_LOCATING = ("where", "presence_where")


@dataclass(frozen=True)
class Answers:
    """Everything that was answered, a list as long as `asked` each.

    Attributes:
        asked: the questions.
        texts: the model's raw words under each condition; None where it doesn't apply.
        rules: by name of the control, answers by rule from tiles read that way.
        product: the product's answer to each, guard and confidence included.
    """

    asked: Sequence[Asked]
    texts: Mapping[Condition, Sequence[str | None]]
    rules: Mapping[str, Sequence[RuleAnswer | None]]
    product: Sequence[Answer]


@dataclass(frozen=True)
class Marks:
    """One way of answering, scored: arrays [n] over the questions.

    Attributes:
        asked: the question was asked this way.
        right: the answer is right.
        cited: regions cited.
        num_right: of them, those whose citation isn't wrong.
        num_found: regions of the evidence cited.
        refused: the answer is that it can't be told.
    """

    asked: NDArray[np.bool_]
    right: NDArray[np.bool_]
    cited: NDArray[np.int64]
    num_right: NDArray[np.int64]
    num_found: NDArray[np.int64]
    refused: NDArray[np.bool_]


def is_right(item: Asked, text: str) -> bool:
    """Whether an answer is right, for every kind of question.

    Where a question has no options to choose from, an answer is right if it quotes the measured
    facts that it should, or, where there are none, if it is the expected one word for word.
    """
    qa = item.qa
    correct = score_answer(qa, text).correct
    if correct is not None:
        return correct
    facts = _FACT.findall(qa.answer)
    if facts:
        return all(fact in text for fact in facts)
    return " ".join(text.split()) == " ".join(qa.answer.split())


def mark_texts(asked: Sequence[Asked], texts: Sequence[str | None]) -> Marks:
    """Score the model's raw words."""
    scores = [
        None if t is None else score_answer(a.qa, t) for a, t in zip(asked, texts, strict=True)
    ]
    return Marks(
        np.array([t is not None for t in texts]),
        np.array([t is not None and is_right(a, t) for a, t in zip(asked, texts, strict=True)]),
        np.array([len(s.cited) if s else 0 for s in scores]),
        np.array([s.num_right if s else 0 for s in scores]),
        np.array([s.num_found if s else 0 for s in scores]),
        np.array([t is not None and t.lstrip().startswith(CANNOT) for t in texts]),
    )


def mark_rules(asked: Sequence[Asked], answers: Sequence[RuleAnswer | None]) -> Marks:
    """Score answers by rule."""
    pairs = list(zip(asked, answers, strict=True))
    return Marks(
        np.array([r is not None for _, r in pairs]),
        np.array([r is not None and r.key == a.qa.key for a, r in pairs]),
        np.array([len(r.cited) if r else 0 for _, r in pairs]),
        np.array([len(set(r.cited) & set(a.qa.allowed)) if r else 0 for a, r in pairs]),
        np.array([len(set(r.cited) & set(a.qa.evidence)) if r else 0 for a, r in pairs]),
        np.zeros(len(pairs), bool),
    )


class SlideScorer:
    """Turns answers into rows.

    Args:
        answers: what was answered.
        draws: bootstrap over slides.
    """

    def __init__(self, answers: Answers, draws: Draws) -> None:
        self._answers, self._draws = answers, draws
        asked = answers.asked
        self.label = np.array([item.label for item in asked])
        self.language = np.array([item.qa.language for item in asked])
        self.wording = np.array([item.qa.split for item in asked])
        self.origin = np.array([item.slide.origin for item in asked])
        self.slide = np.array([item.slide.number for item in asked])
        self.k = np.array([len(item.slide.regions) for item in asked])
        self.evidence = np.array([len(item.qa.evidence) for item in asked])
        self.allowed = np.array([len(item.qa.allowed) for item in asked])
        self.looking = np.isin(self.label, PERCEPTUAL)
        self.marks = {
            **{name: mark_texts(asked, texts) for name, texts in answers.texts.items()},
            **{name: mark_rules(asked, given) for name, given in answers.rules.items()},
        }
        self._boot = draws.over(self.slide)

    def rows(self) -> list[Row]:
        """All rows in the order of the table."""
        return [
            *self.question_rows(),
            *self.difference_rows(),
            *self.citation_rows(),
            *self.word_rows(),
            *self.refusal_rows(),
            *self.calibration_rows(),
        ]

    def question_rows(self) -> list[Row]:
        """Accuracy by kind and language, by origin of the slide, and over all."""
        rows: list[Row] = []
        for label in PERCEPTUAL:
            for language in LANGUAGES:
                here = (self.label == label) & (self.language == language)
                if here.any():
                    rows.append(self._accuracy(QUESTIONS, f"{label}, {language}", here))
        for name, here in (
            ("all kinds, en", self.looking & (self.language == "en")),
            ("all kinds, zh", self.looking & (self.language == "zh")),
            ("all kinds, laid slides", self.looking & (self.origin == "laid")),
            ("all kinds, drawn slides", self.looking & (self.origin == "drawn")),
            ("all kinds, wordings trained on", self.looking & (self.wording == "train")),
            ("all kinds, wordings held out", self.looking & (self.wording == "test")),
            ("all kinds", self.looking),
        ):
            if here.any():
                rows.append(self._accuracy(QUESTIONS, name, here))
        return rows

    def _accuracy(self, section: str, name: str, here: NDArray[np.bool_]) -> Row:
        def share(marks: Marks) -> Estimate:
            use = here & marks.asked
            return self._boot.ratio(use & marks.right, use)

        controls = {
            name: share(marks)
            for name, marks in self.marks.items()
            if name != "true" and (here & marks.asked).any()
        }
        return Row(section, name, share(self.marks["true"]), controls)

    def difference_rows(self) -> list[Row]:
        """True slide minus each control, Chinese minus English, held-out minus trained wordings."""
        true, rows = self.marks["true"], list[Row]()
        aims = {"blind": 0.35, "other": 0.35}
        for name, marks in self.marks.items():
            both = self.looking & true.asked & marks.asked
            if name == "true" or not both.any():
                continue
            gap = self._boot.difference(both & true.right, both, both & marks.right, both)
            words = f"true slide minus {name}"
            rows.append(Row(DIFFERENCES, words, gap, aim=aims.get(name)))
        halves = (
            ("Chinese minus English", self.language == "zh", self.language == "en"),
            ("held-out minus trained wordings", self.wording == "test", self.wording == "train"),
        )
        for words, one, two in halves:
            one, two = one & self.looking, two & self.looking
            if one.any() and two.any():
                gap = self._boot.difference(one & true.right, one, two & true.right, two)
                rows.append(Row(DIFFERENCES, words, gap))
        return rows

    def citation_rows(self) -> list[Row]:
        """Precision and recall of the regions cited, where the question is where, and elsewhere.

        Questions that name a region hand the citation to the model, whatever lies there: they
        stand apart.
        """
        asked = self._answers.asked
        key = np.array([item.qa.key for item in asked])
        named = np.array([bool(named_regions(item.qa.question)) for item in asked])
        cites = self.evidence > 0
        locating = cites & np.isin(self.label, _LOCATING) & (key == "yes")
        rows: list[Row] = []
        for name, here, aims in (
            ("where it is", locating, (0.95, 0.90)),
            ("evidence in other answers", cites & ~locating & ~named, (0.90, None)),
            ("regions that the question names", cites & ~locating & named, (None, None)),
        ):
            if here.any():
                rows.append(self._precision(f"{name}: precision", here, aims[0]))
                rows.append(self._recall(f"{name}: recall", here, aims[1]))
        return rows

    def _precision(self, name: str, here: NDArray[np.bool_], aim: float | None) -> Row:
        def precision(marks: Marks) -> Estimate:
            use = here & marks.asked
            return self._boot.ratio(marks.num_right * use, marks.cited * use)

        def chance(marks: Marks) -> Estimate:
            use = here & marks.asked
            expected = marks.cited * np.minimum(self.allowed / self.k, 1)
            return self._boot.ratio(expected * use, marks.cited * use)

        return Row(
            CITATIONS, name, precision(self.marks["true"]), self._beside(precision, chance), aim
        )

    def _recall(self, name: str, here: NDArray[np.bool_], aim: float | None) -> Row:
        def recall(marks: Marks) -> Estimate:
            use = here & marks.asked
            return self._boot.ratio(marks.num_found * use, self.evidence * use)

        def chance(marks: Marks) -> Estimate:
            use = here & marks.asked
            expected = self.evidence * np.minimum(marks.cited / self.k, 1)
            return self._boot.ratio(expected * use, self.evidence * use)

        controls = self._beside(recall, chance)
        return Row(CITATIONS, name, recall(self.marks["true"]), controls, aim)

    def _beside(
        self, score: Callable[[Marks], Estimate], chance: Callable[[Marks], Estimate]
    ) -> dict[str, Estimate]:
        """The score under each condition, and what as many regions drawn by lot would get.

        Under permuted contents other questions draw most of the citations, so that control has a
        chance level of its own.
        """
        shown = {n: m for n, m in self.marks.items() if n not in ("true", "reordered")}
        controls = {name: score(marks) for name, marks in shown.items()}
        controls["chance"] = chance(self.marks["true"])
        if "permuted" in shown:
            controls["permuted_chance"] = chance(shown["permuted"])
        return controls

    def word_rows(self) -> list[Row]:
        """Kinds that quote a measurement or explain."""
        rows: list[Row] = []
        for label in ("measured", "quality", "help"):
            here = self.label == label
            if here.any():
                score = self._boot.ratio(here & self.marks["true"].right, here)
                rows.append(Row(WORDS, label, score))
        return rows

    def refusal_rows(self) -> list[Row]:
        """What must be refused and is; what needn't be and is."""
        hopeless = self.label == "cannot"
        refused = {
            "model alone": self.marks["true"].refused,
            "product, with guard": np.array([a.abstained for a in self._answers.product]),
        }
        rows: list[Row] = []
        for name, given in refused.items():
            if hopeless.any():
                score = self._boot.ratio(hopeless & given, hopeless)
                rows.append(Row(REFUSALS, f"cannot be told: {name}", score))
            score = self._boot.ratio(~hopeless & given, ~hopeless)
            rows.append(Row(REFUSALS, f"can be told: {name}", score))
        rows += self._refusals_by_reason(refused)
        rows += self._withheld(~hopeless)
        return rows

    def _refusals_by_reason(self, refused: Mapping[str, NDArray[np.bool_]]) -> list[Row]:
        key = np.array([item.qa.key for item in self._answers.asked])
        hopeless = self.label == "cannot"
        return [
            Row(
                REFUSALS,
                f"{reason}: {name}",
                self._boot.ratio(here & given, here),
                detail=True,
            )
            for reason in np.unique(key[hopeless])
            for name, given in refused.items()
            if (here := hopeless & (key == reason)).any()
        ]

    def _withheld(self, answerable: NDArray[np.bool_]) -> list[Row]:
        """Why the product refused what can be told."""
        reason = np.array([a.reason or "" for a in self._answers.product])
        abstained = np.array([a.abstained for a in self._answers.product])
        return [
            Row(
                REFUSALS,
                f"can be told: product, for {name}",
                self._boot.ratio(answerable & abstained & (reason == name), answerable),
                detail=True,
            )
            for name in np.unique(reason[abstained & answerable])
        ]

    def calibration_rows(self) -> list[Row]:
        """How far confidence can be trusted, and what abstaining buys."""
        product = self._answers.product
        use = np.array([a.confidence is not None for a in product], bool) & self._weighed
        if not use.any():
            return []
        sure = np.array([a.confidence or 0.0 for a in product])[use]
        right = self.marks["true"].right[use]
        boot = self._draws.over(self.slide[use])
        rows = [
            Row(
                CALIBRATION,
                "expected calibration error",
                boot.statistic(lambda w: calibration_gap(sure, right, w)),
                aim=0.08,
                at_most=True,
            )
        ]
        for part in COVERAGES:
            score = boot.statistic(lambda w, c=part: accuracy_at_coverage(sure, right, c, w))
            rows.append(Row(CALIBRATION, f"accuracy of the surest {part:.0%}", score))
        grade = np.array([a.diagnosis_class for a in product])[use]
        for name in ("I", "II", "III", "IV"):
            here = grade == name
            if here.any():
                score = boot.ratio(here & right, here)
                rows.append(Row(CALIBRATION, f"accuracy of class {name}", score))
        return rows

    @property
    def _weighed(self) -> NDArray[np.bool_]:
        """Answers whose confidence says something: to questions with a key, not refused."""
        keyed = np.array([bool(item.qa.options) for item in self._answers.asked])
        return keyed & ~self.marks["true"].refused
