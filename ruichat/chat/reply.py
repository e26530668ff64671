"""One question answered: guarded, streamed, checked, weighed."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy.typing import NDArray

from ruichat.chat import texts
from ruichat.chat.answer import (
    AbstainReason,
    Answer,
    Citation,
    Claim,
    DiagnosisClass,
    SlideRecord,
)
from ruichat.chat.calibration import Calibration
from ruichat.chat.draft import Draft, Rendered, render_words
from ruichat.chat.facts import Share, SlideFacts, fact_values, facts_prompt
from ruichat.chat.guard import GuardVerdict, check_question
from ruichat.chat.question import (
    clean_question,
    named_regions,
    question_kind,
    question_language,
)
from ruichat.chat.sentences import cited_names, is_abstention, is_claim, split_sentences
from ruichat.chat.support import read_signal
from ruichat.histology import KEYS, Language
from ruichat.model.vocabulary import CANNOT, SPECIAL_PIECES

if TYPE_CHECKING:
    from ruichat.chat.ask import AskConfig
    from ruichat.model.chat_model import ChatSession, Piece
    from ruichat.model.regions import Regions

CANNOT_ID = SPECIAL_PIECES.index(CANNOT)

NUM_ALTERNATIVES = 3
MIN_ALTERNATIVE = 0.05
"""Tissue classes under a twentieth aren't worth naming as alternatives."""


@dataclass(frozen=True)
class SlideView:
    """What a chat knows of its slide once it is encoded.

    Attributes:
        record: what was read.
        span0: side of a tile, level-0 pixels.
        xy0: top left corners of the tiles, level-0 pixels, [n, 2].
        regions: the named regions.
        region_classes: mean class probabilities per region, [k, c].
        facts: what was measured.
        model: name of the model that answers.
        calibration: of the model, None if it carries none.
    """

    record: SlideRecord
    span0: int
    xy0: Int64[NDArray[np.int64], "n 2"]
    regions: Regions
    region_classes: Float32[NDArray[np.float32], "k c"]
    facts: SlideFacts
    model: str
    calibration: Calibration | None

    @property
    def num_regions(self) -> int:
        """Number of named regions k."""
        return len(self.regions.boxes)

    def cite(self, name: str) -> Citation:
        """The citation of a region that exists, with its leading classes."""
        index = int(name[1:]) - 1
        return Citation(name, self.regions.boxes[index], leading(self.region_classes[index]))


@dataclass
class _Outcome:
    """What is known of an answer so far."""

    text: str = ""
    diagnosis_class: DiagnosisClass = "IV"
    confidence: float | None = None
    abstained: bool = True
    reason: AbstainReason | None = None
    claims: list[Claim] = field(default_factory=list[Claim])
    alternatives: tuple[Share, ...] = ()
    errors: list[str] = field(default_factory=list[str])


def answer_question(
    question: str,
    view: SlideView,
    session: ChatSession,
    *,
    config: AskConfig,
    opening_s: Mapping[str, float],
    default_language: Language = "en",
) -> Generator[str | Answer]:
    """Answer one question about a slide.

    What the slide can't show is said without asking the model; a question that mixes both is
    answered in its answerable part, and the rest is named.

    Args:
        question: as typed; data, never an instruction to this code.
        view: the slide.
        session: the model's dialogue about it.
        config: limits and language.
        opening_s: seconds spent before the question, recorded with the answer.
        default_language: of a question without words, such as "R7?".

    Yields:
        Words as they may be shown, then the whole `Answer`.

    Raises:
        InputError: the question is empty or too long.
    """
    started = time.perf_counter()
    asked = clean_question(question, max_chars=config.max_question_chars)
    language = config.language or question_language(asked, default=default_language)
    kind = question_kind(asked)
    first_word_s = None
    words = _answer_words(asked, kind, language, view, session, config)
    while True:
        try:
            text = next(words)
        except StopIteration as stop:
            outcome: _Outcome = stop.value
            break
        if not text:
            continue
        if first_word_s is None:
            first_word_s = time.perf_counter() - started
        yield text
    total_s = time.perf_counter() - started
    seconds = dict(opening_s) | {"first_word": first_word_s or total_s, "answer": total_s}
    yield Answer(
        text=outcome.text,
        question=asked,
        language=language,
        kind=kind,
        diagnosis_class=outcome.diagnosis_class,
        confidence=outcome.confidence,
        abstained=outcome.abstained,
        reason=outcome.reason,
        claims=tuple(outcome.claims),
        citations=tuple(view.cite(name) for name in cited_names(outcome.text)),
        alternatives=outcome.alternatives,
        facts=view.facts,
        slide=view.record,
        model=view.model,
        prompt_version=facts_prompt().label,
        seconds=seconds | {"total": sum(opening_s.values()) + total_s},
        errors=tuple(outcome.errors),
        warnings=texts.warnings(view.facts, view.calibration is not None, language),
    )


def leading(classes: Float[NDArray[Any], " c"]) -> tuple[Share, ...]:
    """The likeliest classes of a distribution [c], largest first."""
    order = np.argsort(-classes, kind="stable")[:NUM_ALTERNATIVES]
    return tuple(Share(KEYS[i], float(classes[i])) for i in order if classes[i] >= MIN_ALTERNATIVE)


_Words = Generator[str, None, _Outcome]


def _answer_words(
    asked: str,
    kind: str,
    language: Language,
    view: SlideView,
    session: ChatSession,
    config: AskConfig,
) -> _Words:
    """Words to show; returns the outcome."""
    far = [number for number in named_regions(asked) if not 1 <= number <= view.num_regions]
    if far:
        text = texts.no_such_region(far[0], view.num_regions, language)
        return (yield from _say(text, "no_such_region"))
    verdict = check_question(asked)
    if verdict.hits and not verdict.rest:
        return (yield from _say(_guard_text(verdict, language), verdict.hits[0].topic))
    limit = view.calibration.known_fraction if view.calibration else None
    if limit is not None and view.facts.known_fraction < limit:
        text = texts.unknown_tissue(view.facts, limit, language)
        return (yield from _say(text, "unknown_tissue", alternatives=_alternatives(view, ())))
    outcome = yield from _model_words(verdict.rest, kind, language, view, session, config)
    if verdict.hits:
        addition = _guard_text(verdict, language)
        separator = "" if language == "zh" else " "
        yield separator + addition
        outcome.text += separator + addition
        outcome.reason = verdict.hits[0].topic
    return outcome


def _say(text: str, reason: AbstainReason, *, alternatives: tuple[Share, ...] = ()) -> _Words:
    yield text
    return _Outcome(text=text, reason=reason, alternatives=alternatives)


def _guard_text(verdict: GuardVerdict, language: Language) -> str:
    parts = [texts.cannot_topic(hit.topic, hit.trigger, language) for hit in verdict.hits]
    return ("" if language == "zh" else " ").join(parts)


def _model_words(
    question: str,
    kind: str,
    language: Language,
    view: SlideView,
    session: ChatSession,
    config: AskConfig,
) -> _Words:
    """Stream the model's answer once its first sentence has been weighed."""
    draft = Draft()
    outcome: _Outcome | None = None
    shown = 0
    with closing(session.stream(question, max_tokens=config.max_tokens)) as pieces:
        for piece in pieces:
            draft.add(_spelled(piece), piece.logprob)
            if outcome is None:
                first = draft.first_sentence(ended=False)
                if first is None:
                    continue
                outcome = _weigh(draft, first, kind, language, view)
                if outcome.reason == "low_confidence":
                    break
                yield texts.qualifier(outcome.diagnosis_class, language)
                shown = draft.start
            end = draft.safe_end()
            if end > shown:
                yield _render(draft.raw[shown:end], view, language).text
                shown = end
    if outcome is None:
        first = draft.first_sentence(ended=True)
        outcome = _weigh(draft, first or "", kind, language, view)
        shown = draft.start
        if outcome.reason != "low_confidence":
            yield texts.qualifier(outcome.diagnosis_class, language)
    if outcome.reason == "low_confidence":
        yield outcome.text
        return outcome
    yield _render(draft.raw[shown:], view, language).text.rstrip()
    _conclude(outcome, draft, kind, language, view)
    if not _render(draft.raw, view, language).text.strip():
        outcome.text = texts.no_answer(language)
        yield outcome.text
    return outcome


def _spelled(piece: Piece) -> str:
    """A piece's text; the abstention piece, which spells nothing to a reader, by its name."""
    return CANNOT if piece.token_id == CANNOT_ID and not piece.text else piece.text


def _weigh(draft: Draft, first: str, kind: str, language: Language, view: SlideView) -> _Outcome:
    """Decide from the first sentence whether and how the answer may be stated."""
    if draft.abstains or is_abstention(first) or not first.strip():
        outcome = _Outcome(reason="model")
    else:
        outcome = _Outcome(abstained=False)
    confidence = _confidence(draft, 0, len(first), kind, view)
    outcome.confidence = confidence
    if outcome.abstained:
        outcome.alternatives = _alternatives(view, ())
        return outcome
    # Without calibration nothing is known about reliability: describe, don't diagnose.
    outcome.diagnosis_class = (
        "III"
        if confidence is None or view.calibration is None
        else view.calibration.diagnosis_class(confidence)
    )
    if outcome.diagnosis_class != "I":
        outcome.alternatives = _alternatives(view, cited_names(first))
    if outcome.diagnosis_class == "IV" and confidence is not None:
        outcome.abstained = True
        outcome.reason = "low_confidence"
        outcome.text = texts.low_confidence(confidence, outcome.alternatives, language)
    return outcome


def _conclude(
    outcome: _Outcome, draft: Draft, kind: str, language: Language, view: SlideView
) -> None:
    """Text, claims and errors of the whole answer."""
    at = 0
    texts_shown: list[str] = []
    for sentence in split_sentences(draft.raw):
        rendered = _render(sentence, view, language)
        texts_shown.append(rendered.text)
        outcome.errors += rendered.errors
        if not outcome.abstained and is_claim(rendered.text):
            confidence = _confidence(draft, at, at + len(sentence), kind, view)
            outcome.claims.append(_claim(rendered, confidence))
        at += len(sentence)
    body = "".join(texts_shown).strip()
    outcome.text = texts.qualifier(outcome.diagnosis_class, language) + body


def _claim(rendered: Rendered, confidence: float | None) -> Claim:
    cited = cited_names(rendered.text)
    return Claim(
        text=rendered.text.strip(),
        citations=cited,
        facts=rendered.facts,
        grounded=bool(cited or rendered.facts),
        confidence=confidence,
    )


def _confidence(draft: Draft, start: int, end: int, kind: str, view: SlideView) -> float | None:
    if view.calibration is None:
        return None
    signal = read_signal(draft.pieces_of(start, end), view.region_classes)
    return view.calibration.confidence(kind, signal)


def _render(raw: str, view: SlideView, language: Language) -> Rendered:
    return render_words(raw, num_regions=view.num_regions, facts=fact_values(view.facts, language))


def _alternatives(view: SlideView, names: tuple[str, ...]) -> tuple[Share, ...]:
    """Leading classes in the named regions, else on the whole slide."""
    rows = [int(name[1:]) - 1 for name in names]
    rows = [row for row in rows if 0 <= row < view.num_regions]
    if rows:
        return leading(view.region_classes[rows].mean(axis=0))
    sizes = np.bincount(view.regions.assignment, minlength=view.num_regions)
    return leading(np.average(view.region_classes, axis=0, weights=sizes))
