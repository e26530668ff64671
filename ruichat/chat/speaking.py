"""The model's answer on its way out: weighed by its first sentence, then shown and checked."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ruichat.chat import texts
from ruichat.chat.answer import AbstainReason, Claim, DiagnosisClass, Thought
from ruichat.chat.draft import Draft, Rendered, render_words
from ruichat.chat.facts import Share, fact_values
from ruichat.chat.measured import find_dispute, is_beside_the_point
from ruichat.chat.question import question_language
from ruichat.chat.sentences import cited_names, is_abstention, is_claim, split_sentences
from ruichat.chat.support import read_signal
from ruichat.chat.view import SlideView
from ruichat.histology import Language

if TYPE_CHECKING:
    from ruichat.chat.ask import AskConfig, Watch
    from ruichat.model.chat_model import ChatSession


@dataclass
class Outcome:
    """What is known of an answer so far; the fields are those of `Answer`."""

    text: str = ""
    diagnosis_class: DiagnosisClass | None = "IV"
    confidence: float | None = None
    abstained: bool = True
    reason: AbstainReason | None = None
    claims: list[Claim] = field(default_factory=list[Claim])
    alternatives: tuple[Share, ...] = ()
    errors: list[str] = field(default_factory=list[str])
    thought: str = ""

    @property
    def is_withheld(self) -> bool:
        """The model's words aren't shown."""
        return self.reason in ("low_confidence", "disputed")


Words = Generator[str | Thought, None, Outcome]
"""The thought and words as they may be shown; returns the outcome."""


class Speaker:
    """Lets a model answer one question about one slide.

    Args:
        view: the slide.
        kind: of the question, chooses the calibration.
        language: of qualifiers and of the words for facts.
    """

    def __init__(self, view: SlideView, kind: str, language: Language) -> None:
        self._view, self._kind = view, kind
        self._language: Language = language
        self._facts = fact_values(view.facts, language)
        self._draft, self._thought = Draft(), ""

    def speak(
        self,
        question: str,
        session: ChatSession,
        config: AskConfig,
        watch: Watch | None = None,
    ) -> Words:
        """Stream the answer once its first sentence has been weighed.

        An answer that is too likely to be wrong is cut off and never shown, and neither is the
        thought that led to it.
        """
        draft, outcome, shown = self._draft, None, 0
        stream = session.stream(question, max_tokens=config.max_tokens, think=config.think)
        with closing(stream) as pieces:
            for piece in pieces:
                if watch is not None:
                    watch()
                if piece.thought:
                    self._thought += piece.text
                    continue
                draft.add(piece.text, piece.logprob)
                if outcome is None:
                    first = draft.first_sentence(ended=False)
                    if first is None:
                        continue
                    outcome, shown = self._weigh(first), draft.start
                    if outcome.is_withheld:
                        break
                    yield from self._begin(outcome, config)
                end = draft.safe_end()
                if end > shown:
                    yield self._render(draft.raw[shown:end]).text
                    shown = end
        if outcome is None:
            outcome, shown = self._weigh(draft.first_sentence(ended=True) or ""), draft.start
            yield from self._begin(outcome, config)
        if not outcome.is_withheld:
            yield self._render(draft.raw[shown:]).text.rstrip()
            self._conclude(outcome)
        if not outcome.text:
            outcome.text = texts.no_answer(self._language)
        if outcome.is_withheld or not self._render(draft.raw).text.strip():
            yield outcome.text
        return outcome

    def _begin(self, outcome: Outcome, config: AskConfig) -> Generator[str | Thought]:
        """What comes before the first word."""
        if self._thought and not outcome.is_withheld:
            outcome.thought = self._render(self._thought).text.strip()
            if config.show_thinking:
                yield Thought(outcome.thought)
        yield texts.qualifier(outcome.diagnosis_class, self._language)

    def _weigh(self, first: str) -> Outcome:
        """Decide from the first sentence whether and how the answer may be stated."""
        view, confidence = self._view, self._confidence(0, len(first))
        # A question in both languages is framed in the one that the model chose to answer in.
        self._language = question_language(first, default=self._language)
        if self._draft.abstains or is_abstention(first) or not first.strip():
            return Outcome(reason="model", confidence=confidence)
        if view.calibration is None or confidence is None:
            # Nothing is known about reliability: describe, don't diagnose.
            alternatives = view.alternatives(cited_names(first))
            return Outcome(diagnosis_class="III", abstained=False, alternatives=alternatives)
        level = view.calibration.diagnosis_class(confidence)
        outcome = Outcome(diagnosis_class=level, abstained=False, confidence=confidence)
        if level != "I":
            outcome.alternatives = view.alternatives(cited_names(first))
        if level == "IV":
            # The words aren't shown, so the regions that they cite mean nothing to the reader.
            outcome.alternatives = view.alternatives()
            outcome.abstained, outcome.reason = True, "low_confidence"
            outcome.text = texts.low_confidence(
                confidence, outcome.alternatives, self._language, view.place
            )
            return outcome
        if self._kind == "help":  # says nothing about the slide
            outcome.diagnosis_class = None
        if is_beside_the_point(first, self._kind):
            text = texts.no_answer(self._language)
            return Outcome(text=text, confidence=confidence, reason="disputed")
        dispute = find_dispute(first, view, self._language)
        if dispute is not None:
            text = texts.disputed(dispute.measured, self._language)
            return Outcome(text=text, confidence=confidence, reason="disputed")
        return outcome

    def _conclude(self, outcome: Outcome) -> None:
        """Text, claims and errors of the whole answer."""
        at, body = 0, ""
        for sentence in split_sentences(self._draft.raw):
            rendered = self._render(sentence)
            body += rendered.text
            outcome.errors += rendered.errors
            states = not outcome.abstained and outcome.diagnosis_class is not None
            if states and is_claim(rendered.text):
                outcome.claims.append(_claim(rendered, self._confidence(at, at + len(sentence))))
            at += len(sentence)
        if body.strip():
            qualifier = texts.qualifier(outcome.diagnosis_class, self._language)
            outcome.text = qualifier + body.strip()

    def _confidence(self, start: int, end: int) -> float | None:
        """Calibrated confidence in a stretch of the draft."""
        if self._view.calibration is None:
            return None
        signal = read_signal(self._draft.pieces_of(start, end), self._view.region_classes)
        return self._view.calibration.confidence(self._kind, signal)

    def _render(self, raw: str) -> Rendered:
        if self._view.drawn is not None:
            raw = texts.of_drawn(raw)
        return render_words(raw, num_regions=self._view.num_regions, facts=self._facts)


def _claim(rendered: Rendered, confidence: float | None) -> Claim:
    cited = cited_names(rendered.text)
    return Claim(
        text=rendered.text.strip(),
        citations=cited,
        facts=rendered.facts,
        grounded=bool(cited or rendered.facts),
        confidence=confidence,
    )
