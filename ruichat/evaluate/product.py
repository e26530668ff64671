"""From the model's words to the product's answer: guard, checks and confidence, as in a chat."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ruichat.chat.answer import Answer, SlideRecord
from ruichat.chat.ask import AskConfig, region_means
from ruichat.chat.backend import TileClassifier
from ruichat.chat.calibration import Calibration
from ruichat.chat.question import MAX_QUESTION_CHARS
from ruichat.chat.reply import SlideView, answer_question
from ruichat.evaluate.answering import Answerer, Prompt, Tick, Written
from ruichat.evaluate.controls import Shown
from ruichat.evaluate.questions import Asked
from ruichat.evaluate.slides import BASE_MPP, TestSlide
from ruichat.model.chat_model import ChatSession, OptionScore, Piece


@dataclass
class ReplaySession:
    """Says what was written before; remembers what it was asked."""

    pieces: Sequence[Piece] = ()
    asked: list[str] = field(default_factory=list[str])

    def stream(
        self, question: str, *, max_tokens: int = 0, think: bool | None = None
    ) -> Generator[Piece, None, None]:
        """The prepared answer."""
        del max_tokens, think
        self.asked.append(question)
        yield from self.pieces

    def score(self, question: str, options: Sequence[str]) -> list[OptionScore]:
        """Nothing is prepared to choose from."""
        del question
        return [OptionScore(0.0, 1) for _ in options]

    def fork(self) -> ChatSession:
        """The same again."""
        return ReplaySession(self.pieces)


def view_slide(
    slide: TestSlide,
    classifier: TileClassifier | None,
    model: str,
    calibration: Calibration | None,
) -> SlideView:
    """What a chat would know of the slide."""
    regions = slide.regions
    classes = None
    if classifier is not None:
        probabilities = classifier.class_probabilities(slide.embeddings)
        classes = region_means(probabilities, regions.assignment, len(regions))
    boxes = regions.boxes
    width, height = max(b.x + b.width for b in boxes), max(b.y + b.height for b in boxes)
    corners = np.array([(box.x, box.y) for box in boxes], np.int64)
    return SlideView(
        record=SlideRecord("evaluation", width, height, BASE_MPP, "file", BASE_MPP),
        span0=224,
        xy0=corners[regions.assignment],
        regions=regions,
        region_classes=classes,
        facts=slide.facts,
        model=model,
        calibration=calibration,
    )


def product_answers(
    asked: Sequence[Asked],
    shown: dict[int, Shown],
    views: dict[int, SlideView],
    answerer: Answerer,
    written: Mapping[tuple[int, str], Written],
    *,
    max_tokens: int,
    tick: Tick | None = None,
) -> list[Answer]:
    """Answer every question as the product does.

    Args:
        asked: the questions.
        shown: what the model sees of each slide, by its number.
        views: what the chat knows of each slide, by its number.
        answerer: writes what isn't written yet: the guard may send the model half a question.
        written: answers of the model so far by slide number and question.
        max_tokens: longest answer.
        tick: counts what is written.
    """
    # The chat cleans blanks before it asks, which changes no text token.
    written = {(number, _plain(question)): given for (number, question), given in written.items()}
    sent = [_sent(item, views[item.slide.number]) for item in asked]
    missing = list(
        dict.fromkeys(
            (item.slide.number, question)
            for item, question in zip(asked, sent, strict=True)
            if question is not None and (item.slide.number, question) not in written
        )
    )
    prompts = [Prompt(shown[number], question) for number, question in missing]
    more = answerer.answer(prompts, max_tokens=max_tokens, tick=tick) if prompts else []
    written |= dict(zip(missing, more, strict=True))
    answers: list[Answer] = []
    for item, question in zip(asked, sent, strict=True):
        words = written[item.slide.number, question].pieces if question is not None else ()
        answers.append(_reply(item, views[item.slide.number], ReplaySession(words)))
    return answers


def _sent(item: Asked, view: SlideView) -> str | None:
    """What of a question reaches the model; None if the guard answers it alone."""
    session = ReplaySession()
    _reply(item, view, session)
    return _plain(session.asked[0]) if session.asked else None


def _plain(question: str) -> str:
    return " ".join(question.split())


def _reply(item: Asked, view: SlideView, session: ReplaySession) -> Answer:
    config = AskConfig(max_question_chars=MAX_QUESTION_CHARS)
    events = answer_question(item.qa.question, view, session, config=config, opening_s={})
    for event in events:
        if isinstance(event, Answer):
            return event
    raise AssertionError("an answer ends with an Answer")
