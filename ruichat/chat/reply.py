"""One question answered: by the guard, by what was measured, or by the model."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from ruichat.chat import texts
from ruichat.chat.answer import AbstainReason, Answer, DrawnRecord, Thought
from ruichat.chat.facts import Share, facts_prompt
from ruichat.chat.guard import GuardVerdict, check_question
from ruichat.chat.question import (
    clean_question,
    named_regions,
    question_kind,
    question_language,
)
from ruichat.chat.scope import as_slide, is_about_slide, is_greeting, spell_out
from ruichat.chat.sentences import cited_names
from ruichat.chat.speaking import Outcome, Speaker, Words
from ruichat.chat.support import cited_for, denies
from ruichat.chat.view import SlideView
from ruichat.chat.warning_texts import warnings
from ruichat.histology import Language

if TYPE_CHECKING:
    from ruichat.chat.ask import AskConfig, Watch
    from ruichat.model.chat_model import ChatSession

MIN_NODE_SHARE = 0.2
"""Share of lymphoid tissue from which a slide may show a lymph node: less is an infiltrate."""

__all__ = ["SlideView", "answer_question"]


def answer_question(
    question: str,
    view: SlideView,
    session: ChatSession,
    *,
    config: AskConfig,
    opening_s: Mapping[str, float],
    default_language: Language = "en",
    continues: bool = False,
    watch: Watch | None = None,
) -> Generator[str | Thought | Answer]:
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
        continues: it goes on from the question that the session heard last.
        watch: called before each piece of the model's; what it raises ends the answer.

    Yields:
        The thought, if it is to be shown; words as they may be shown; then the whole `Answer`.

    Raises:
        InputError: the question is empty or too long.
    """
    started = time.perf_counter()
    asked = clean_question(question, max_chars=config.max_question_chars)
    language = config.language or question_language(asked, default=default_language)
    seconds = dict(opening_s)
    words = _answer_words(asked, language, view, session, config, continues, watch)
    with closing(words):
        while True:
            try:
                text = next(words)
            except StopIteration as stop:
                outcome: Outcome = stop.value
                break
            if text:
                if isinstance(text, str):
                    seconds.setdefault("first_word", time.perf_counter() - started)
                yield text
    seconds["answer"] = time.perf_counter() - started
    seconds["total"] = sum(opening_s.values()) + seconds["answer"]
    yield _finish(asked, language, view, outcome, seconds)


def _finish(
    asked: str, language: Language, view: SlideView, outcome: Outcome, seconds: Mapping[str, float]
) -> Answer:
    shown = cited_for(outcome.text)
    return Answer(
        text=outcome.text,
        question=asked,
        language=language,
        kind=question_kind(asked),
        diagnosis_class=outcome.diagnosis_class,
        confidence=outcome.confidence,
        abstained=outcome.abstained,
        reason=outcome.reason,
        claims=tuple(outcome.claims),
        citations=tuple(view.cite(name, shown.get(name, ())) for name in cited_names(outcome.text)),
        alternatives=outcome.alternatives,
        facts=view.facts,
        slide=view.record,
        model=view.model,
        prompt_version=" ".join((facts_prompt().label, *view.prompts)),
        seconds=seconds,
        errors=tuple(outcome.errors),
        warnings=warnings(view.facts, view.calibration is not None, language),
        thought=outcome.thought,
        drawn=view.drawn,
    )


def _answer_words(
    asked: str,
    language: Language,
    view: SlideView,
    session: ChatSession,
    config: AskConfig,
    continues: bool,
    watch: Watch | None,
) -> Words:
    """Words to show; returns the outcome."""
    far = [number for number in named_regions(asked) if not 1 <= number <= view.num_regions]
    if far:
        text = texts.no_such_region(far[0], view.num_regions, language, view.place)
        return (yield from _say(text, "no_such_region"))
    if is_greeting(asked):
        return (yield from _inform(texts.help_text(language), "help"))
    verdict = check_question(asked)
    if verdict.hits and not verdict.rest:
        return (yield from _say(_guard_text(verdict, language), verdict.hits[0].topic))
    question = verdict.rest if continues else spell_out(verdict.rest, language)
    if view.drawn is not None:
        question = as_slide(question)
    if not (continues or is_about_slide(question)):
        return (yield from _inform(texts.not_understood(language), "not_understood"))
    words = _look(verdict, question, language, view, session, config, watch)
    return (yield from words if view.drawn is None else _after(view.drawn, language, words))


def _look(
    verdict: GuardVerdict,
    question: str,
    language: Language,
    view: SlideView,
    session: ChatSession,
    config: AskConfig,
    watch: Watch | None,
) -> Words:
    """What is said of the slide itself."""
    limit = view.calibration.known_fraction if view.calibration else 0.0
    known = view.facts.known_fraction
    if known is not None and known < limit:
        text = texts.unknown_tissue(view.facts, known, limit, language, view.place)
        return (yield from _say(text, "unknown_tissue", alternatives=view.alternatives()))
    speaker = Speaker(view, question_kind(question), language)
    outcome = yield from speaker.speak(question, session, config, watch)
    space = "" if language == "zh" else " "
    if denies(outcome.text, "nodal_metastasis") and not _shows_node(view):
        addition = space + texts.no_node(language, view.place)
        yield addition
        outcome.text += addition
    if verdict.hits:
        addition = space + _guard_text(verdict, language)
        yield addition
        outcome.text += addition
        outcome.reason = verdict.hits[0].topic
    return outcome


def _after(drawn: DrawnRecord, language: Language, words: Words) -> Words:
    """The words after those that say which region they are about."""
    lead: str | None = texts.about_drawn(drawn.area_mm2, language)
    with closing(words):
        while True:
            try:
                text = next(words)
            except StopIteration as stop:
                outcome: Outcome = stop.value
                break
            if lead is not None and isinstance(text, str) and text:
                yield lead
                lead = None
            yield text
    outcome.text = texts.about_drawn(drawn.area_mm2, language) + outcome.text
    return outcome


def _shows_node(view: SlideView) -> bool:
    """Whether there is lymph node tissue in which a metastasis could lie, as far as is known."""
    if not view.facts.is_classified:
        return True
    share = view.facts.fraction("lymphoid_tissue") + view.facts.fraction("nodal_metastasis")
    return share >= MIN_NODE_SHARE


def _say(text: str, reason: AbstainReason, *, alternatives: tuple[Share, ...] = ()) -> Words:
    yield text
    return Outcome(text=text, reason=reason, alternatives=alternatives)


def _inform(text: str, reason: AbstainReason) -> Words:
    """Say something about the program; nothing about the slide, so it has no diagnosis class."""
    yield text
    return Outcome(text=text, reason=reason, diagnosis_class=None)


def _guard_text(verdict: GuardVerdict, language: Language) -> str:
    parts = [texts.cannot_topic(hit.topic, hit.trigger, language) for hit in verdict.hits]
    return ("" if language == "zh" else " ").join(parts)
