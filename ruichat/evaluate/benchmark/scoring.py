"""Scores of answers: each a function of sums over questions, so that any can be drawn anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ruichat.chat.sentences import is_abstention
from ruichat.evaluate.benchmark import texts
from ruichat.evaluate.benchmark.answers import Given
from ruichat.evaluate.benchmark.cases import Kind, Question
from ruichat.evaluate.benchmark.claims import compare_claims, read_claims
from ruichat.evaluate.judging import chosen_option, polarity
from ruichat.evaluate.metrics import OfSums
from ruichat.model.vocabulary import CANNOT

Column = NDArray[np.float64]
Marks = dict[str, Column]
"""What one answer adds to the sums of each score, by the score's name."""

WORDS: tuple[Kind, ...] = ("open", "report", "caption")
"""Kinds that are answered in free words."""


@dataclass(frozen=True)
class Metric:
    """One score.

    Attributes:
        name: of it and of its column.
        kinds: of questions that it is about.
        of_sums: the score of the sums.
        width: of its column.
        main: stands in the table; others are kept in the JSON.
        counted: rests on what its second sum counts, claims or orders, rather than on questions.
    """

    name: str
    kinds: tuple[Kind, ...]
    of_sums: OfSums
    width: int = 2
    main: bool = True
    counted: bool = False

    def num_behind(self, columns: NDArray[np.float64]) -> int:
        """What a score of these columns rests on."""
        return round(columns[:, 1].sum()) if self.counted else len(columns)


def ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """First sum over second."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1], np.float64)


def balanced(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the shares that are right of yes and of no; sums of right and all of each."""
    return np.asarray((ratio(sums[..., :2]) + ratio(sums[..., 2:])) / 2, np.float64)


def _bleu(order: int) -> OfSums:
    def of_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = sums.reshape(-1, texts.NUM_COUNTS).astype(np.int64)
        return np.array([texts.corpus_bleu(row, order) for row in rows]).reshape(sums.shape[:-1])

    return of_sums


METRICS: tuple[Metric, ...] = (
    Metric("accuracy, as answered", ("choice", "closed"), ratio),
    Metric("accuracy, by likelihood", ("choice",), ratio),
    Metric("accuracy, by total likelihood", ("choice",), ratio, main=False),
    Metric("balanced accuracy", ("closed",), balanced, width=4),
    Metric("says yes", ("closed",), ratio, main=False),
    Metric("recall of words", ("open",), ratio),
    Metric("F1 of words", ("open",), ratio, main=False),
    Metric("exact match", ("open",), ratio),
    *(
        Metric(f"BLEU-{n}", WORDS, _bleu(n), width=texts.NUM_COUNTS, main=n in (1, 4))
        for n in range(1, texts.MAX_ORDER + 1)
    ),
    Metric("ROUGE-L", WORDS, ratio),
    Metric("METEOR", WORDS, ratio),
    Metric("claims, precision", WORDS, ratio, counted=True),
    Metric("claims, recall", WORDS, ratio, counted=True),
    Metric("claims contradicted", WORDS, ratio, counted=True),
)
"""Scores of answers against their references."""


def is_abstained(question: Question, text: str) -> bool:
    """Whether an answer leaves open what has an answer: what it lists then is no choice."""
    refuses = text.lstrip().startswith(CANNOT) or is_abstention(text)
    return refuses and not is_abstention(question.answer)


def mark(question: Question, given: Given) -> Marks:
    """Score one answer by every score of its kind."""
    if question.kind == "choice":
        return _mark_choice(question, given)
    if question.kind == "closed":
        return _mark_closed(question, given)
    return _mark_words(question, given)


def choose(question: Question, given: Given) -> int | None:
    """The option that an answer gives."""
    if is_abstained(question, given.text):
        return None
    return chosen_option(given.text, question.options, given.order)


def likeliest(given: Given, *, per_token: bool = True) -> int | None:
    """The option whose words the model finds likeliest; None if a probability is no number."""
    if given.scores is None:
        return None
    values = [one.logprob / (one.num_tokens if per_token else 1) for one in given.scores]
    return int(np.argmax(values)) if np.isfinite(values).all() else None


def mark_guess(question: Question) -> Marks:
    """What choosing by lot gets on average; nothing where there is no choice."""
    if question.kind == "choice":
        odds = share(1 / len(question.options))
        return {metric.name: odds for metric in METRICS if "choice" in metric.kinds}
    if question.kind == "closed":
        yes = question.right_polarity == "yes"
        half = np.array([yes / 2, yes, (not yes) / 2, not yes], np.float64)
        return {"accuracy, as answered": share(0.5), "balanced accuracy": half}
    return {}


def mark_prior(question: Question, given: Given) -> Marks:
    """Score an answer that no model gave; with options there is one way to read it."""
    marks = mark(question, given)
    if question.kind == "choice":
        right = marks["accuracy, as answered"]
        return {metric.name: right for metric in METRICS if "choice" in metric.kinds}
    return marks


def _mark_choice(question: Question, given: Given) -> Marks:
    marks = {"accuracy, as answered": share(choose(question, given) == question.right)}
    if given.scores is not None:
        for name, per_token in (
            ("accuracy, by likelihood", True),
            ("accuracy, by total likelihood", False),
        ):
            best = likeliest(given, per_token=per_token)
            marks[name] = share(best is not None and best == question.right)
    return marks


def _mark_closed(question: Question, given: Given) -> Marks:
    truth = question.right_polarity
    said = None if is_abstained(question, given.text) else polarity(given.text)
    yes, right = truth == "yes", said == truth
    return {
        "accuracy, as answered": share(right),
        "balanced accuracy": np.array([yes and right, yes, not yes and right, not yes], float),
        "says yes": share(said == "yes"),
    }


def _mark_words(question: Question, given: Given) -> Marks:
    answer, reference = given.text.replace(CANNOT, ""), question.answer
    counts = texts.bleu_counts(answer, reference, question.language).astype(np.float64)
    shared = texts.shared_words(answer, reference)
    claims = compare_claims(read_claims(answer), read_claims(reference))
    marks = {
        **{f"BLEU-{n}": counts for n in range(1, texts.MAX_ORDER + 1)},
        "ROUGE-L": share(texts.rouge_l(answer, reference)),
        "METEOR": share(texts.meteor(answer, reference)),
        "claims, precision": pair(claims.num_true, claims.num_made),
        "claims, recall": pair(claims.num_found, claims.num_wanted),
        "claims contradicted": pair(claims.num_contradicted, claims.num_made),
    }
    if question.kind == "open":
        marks |= {
            "recall of words": share(shared.recall),
            "F1 of words": share(shared.f1),
            "exact match": share(shared.exact),
        }
    return marks


def share(value: float) -> Column:
    """One question of which that much is right."""
    return pair(float(value), 1.0)


def pair(part: float, whole: float) -> Column:
    """That much of that much."""
    return np.array([part, whole], np.float64)
