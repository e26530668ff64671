"""Asks what a run hasn't asked yet; whatever a model does, the run goes on or says why it can't."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ruichat.chat.backend import Backend
from ruichat.errors import ConfigError, ModelError, RuiChatError
from ruichat.evaluate.benchmark.answers import AnswerFile, Given, Line
from ruichat.evaluate.benchmark.cases import Question
from ruichat.evaluate.benchmark.config import BenchmarkConfig
from ruichat.evaluate.benchmark.pictures import read_picture
from ruichat.evaluate.benchmark.plan import TRUE, Ask, options_order
from ruichat.evaluate.benchmark.showing import Shown, show_bag
from ruichat.model.chat_model import ChatSession, OptionScore, PictureViewer, Piece
from ruichat.model.pictures import PictureConfig
from ruichat.prompts import Prompt, load_prompt
from ruichat.truth.datasets.dialogue import MAX_TEXT_CHARS, pose

MAX_ANSWER_CHARS = MAX_TEXT_CHARS
"""Where an answer is cut off, as long as the longest reference may be."""

MOST_FAILURES = 20
"""In a row, after which a run stops: it isn't the questions then."""

Tick = Callable[[int, int], None]


def benchmark_prompt() -> Prompt:
    """The prompt that words the questions; its version is recorded with the run."""
    return load_prompt("benchmark")


def word_question(question: Question, order: Sequence[int], config: BenchmarkConfig) -> str:
    """A question as it is sent, options listed in that order."""
    return benchmark_prompt().render(
        question=pose(question.text, question.options, order),
        style=config.style,
        kind=question.kind,
        language=question.language,
    )


def require_viewer(backend: Backend, config: BenchmarkConfig) -> None:
    """Refuse pictures for a model that reads bags.

    Raises:
        ConfigError: it does.
    """
    if config.pictures and not isinstance(backend.model, PictureViewer):
        raise ConfigError(
            f"{backend.name} reads bags of slides; pictures can't be shown to it",
            hint="Leave out pictures to ask it blind, or give a model that looks at pictures: "
            "hub:OWNER/NAME, openai:NAME or its folder",
        )


@dataclass
class Outcome:
    """What became of a run's questions.

    Attributes:
        num_asked: dialogues under a condition, asked now.
        num_failed: of them.
        last_error: of the last that failed.
        without_facts: slides of which no facts could be told.
    """

    num_asked: int = 0
    num_failed: int = 0
    last_error: str = ""
    without_facts: int = 0


class Asker:
    """One model, asked one dialogue after the other; a slide is read once for all about it.

    Args:
        backend: the model.
        config: how it is asked.
    """

    def __init__(self, backend: Backend, config: BenchmarkConfig) -> None:
        self._backend, self._config = backend, config
        self._seen: tuple[str, Shown, ChatSession] | None = None
        self._blind: ChatSession | None = None
        self._without_facts: set[Path] = set()

    def check(self, asks: Sequence[Ask]) -> None:
        """Open the first slide, so that a bag of another encoder is refused before any question.

        Raises:
            RuiChatError: what the model or the bag says.
        """
        first = next((ask for ask in asks if ask.bag is not None), None)
        if first is not None:
            self._session(first)

    def ask_all(self, asks: Iterable[Ask], answers: AnswerFile, tick: Tick) -> Outcome:
        """Ask what isn't answered yet and write every answer down.

        Raises:
            ModelError: too many failed in a row.
            ArtifactError: the answers can't be written.
        """
        asks = list(asks)
        outcome, in_a_row = Outcome(), 0
        for done, ask in enumerate(asks):
            tick(done, len(asks))
            if answers.has(ask.key):
                continue
            line = self._ask(ask)
            answers.add(line)
            outcome.num_asked += 1
            in_a_row = in_a_row + 1 if line.error else 0
            if line.error:
                outcome.num_failed += 1
                outcome.last_error = line.error
            if in_a_row == MOST_FAILURES:
                raise ModelError(
                    f"{MOST_FAILURES} dialogues in a row failed, the last with: {line.error}",
                    hint="Mend it and run the same command: what was answered is kept",
                )
        tick(len(asks), len(asks))
        outcome.without_facts = len(self._without_facts)
        return outcome

    def _ask(self, ask: Ask) -> Line:
        start = time.perf_counter()
        try:
            session = self._session(ask).fork()
            given = tuple(self._answer(session, one, ask.rotation) for one in ask.case.questions)
        except Exception as error:  # models of others raise anything
            told = error.message if isinstance(error, RuiChatError) else str(error)
            name = type(error).__name__
            return Line(ask.key, error=f"{name}: {told}"[:500])
        shown = self._seen[1] if ask.bag is not None and self._seen is not None else None
        scored = shown is not None and ask.condition == TRUE and ask.case.cites
        return Line(
            ask.key,
            given,
            boxes=shown.boxes if shown is not None and scored else (),
            bag=shown.digest if shown is not None else "",
            seconds=time.perf_counter() - start,
        )

    def _session(self, ask: Ask) -> ChatSession:
        """A dialogue about the slide that is shown, nothing asked yet."""
        if ask.bag is None:
            if self._blind is None:
                self._blind = self._backend.model.open(None)
            return self._blind
        if self._seen is None or self._seen[0] != ask.view:
            # One slide at a time is held in memory.
            self._seen = None
            if self._config.pictures:
                self._seen = ask.view, *self._look_at(ask.bag)
                return self._seen[2]
            shown = show_bag(
                ask.bag,
                self._backend,
                self._config.reading,
                dialogue=ask.case.dialogue if ask.regions else None,
                num_regions=ask.num_regions,
                facts=self._config.facts,
            )
            self._seen = ask.view, shown, self._backend.model.open(shown.context)
            if self._config.facts and not shown.has_facts:
                self._without_facts.add(ask.bag)
        return self._seen[2]

    def _look_at(self, path: Path) -> tuple[Shown, ChatSession]:
        """A dialogue about a picture; the model is told nothing else of it."""
        model, pictures = self._backend.model, self._backend.pictures or PictureConfig()
        assert isinstance(model, PictureViewer)
        picture = read_picture(path, pictures.overview_px)
        digest = hashlib.sha256(np.ascontiguousarray(picture.rgb).data).hexdigest()[:16]
        return Shown(None, (), digest, has_facts=False), model.look_at(picture)

    def _answer(self, session: ChatSession, question: Question, rotation: int) -> Given:
        order = options_order(len(question.options), rotation) if question.options else []
        asked = word_question(question, order, self._config)
        scores = _scores(session, asked, question.options) if question.options else None
        config = self._config
        pieces = session.stream(asked, max_tokens=config.max_tokens, think=config.think)
        thought, text, cut = _read(pieces, config.max_tokens)
        return Given(text, tuple(order), scores, cut, thought)


def _scores(
    session: ChatSession, asked: str, options: Sequence[str]
) -> tuple[OptionScore, ...] | None:
    """How likely each option's words are; None from a model that can't say."""
    try:
        scores = session.score(asked, options)
    except ModelError:
        return None
    if len(scores) != len(options):
        raise ModelError(f"the model scored {len(scores)} of {len(options)} options")
    return tuple(scores)


def _read(pieces: Generator[Piece], max_tokens: int) -> tuple[str, str, bool]:
    """Thought and answer as they come, and whether the answer reached a limit."""
    thought, text, num = "", "", 0
    with closing(pieces):
        for piece in pieces:
            if piece.thought:
                thought = (thought + piece.text)[:MAX_ANSWER_CHARS]
                continue
            num += 1
            text += piece.text
            if num >= max_tokens or len(text) >= MAX_ANSWER_CHARS:
                return thought, text[:MAX_ANSWER_CHARS], True
    return thought, text, False
