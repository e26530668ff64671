"""Eight chats at once with `mini`, some stopped: each is told what it would be told alone."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from fakes_engine import FolderSlides

from ruichat.chat.backend import load_backend
from ruichat.serve.engine.engine import Engine
from ruichat.serve.engine.events import Done, Failed, Stopped, Words
from ruichat.serve.engine.requests import Ask
from ruichat.serve.engine.settings import EngineSettings
from ruichat.slide.phantom import PhantomConfig, draw_phantom, write_phantom

SLIDE = "drawn.tif"

QUESTIONS = (
    "Is there tumour on this slide, and where?",
    "Describe this slide.",
    "这张切片上有哪些组织？",
)

NUM_CHATS = 8

MAX_TOKENS = 12

MOST_HEARD = 8
"""Pieces after which whoever stops an answer has stopped it."""


@dataclass(frozen=True)
class Told:
    """What came of a question: its words, and whether that was all."""

    words: str
    is_whole: bool


@dataclass
class Alone:
    """What is answered where nobody else asks; each once."""

    engine: Engine
    known: dict[tuple[str, ...], Told] = field(default_factory=dict)

    def __getitem__(self, questions: tuple[str, ...]) -> Told:
        """The answer to the last of a dialogue's questions."""
        if questions not in self.known:
            chat = f"alone {len(self.known)}"
            for turn in range(1, len(questions) + 1):
                told = ask(self.engine, questions[:turn], chat)
            assert told.is_whole
            self.known[questions] = told
        return self.known[questions]


def ask(engine: Engine, questions: tuple[str, ...], chat: str, heard: int = -1) -> Told:
    """Ask the last of a dialogue's questions, and stop it after so many pieces if not negative."""
    *earlier, question = questions
    ticket = engine.ask(
        Ask(
            user_id=chat,
            slide_ids=(SLIDE,),
            question=question,
            chat_id=chat,
            earlier=tuple(earlier),
            max_tokens=MAX_TOKENS,
        )
    )
    words = ""
    if heard == 0:
        ticket.cancel()
    for event in ticket.events():
        assert not isinstance(event, Failed), event
        if isinstance(event, Words):
            words, heard = words + event.text, heard - 1
            if heard == 0:
                ticket.cancel()
        if isinstance(event, Done):
            assert event.answer.text == words
            return Told(words, is_whole=True)
        if isinstance(event, Stopped):
            return Told(words, is_whole=False)
    raise AssertionError("a question ends with an answer, or is stopped")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    folder = tmp_path_factory.mktemp("slides")
    write_phantom(draw_phantom(PhantomConfig(width0=1024, height0=768, seed=7)), folder / SLIDE)
    settings = EngineSettings(answers_at_once=NUM_CHATS)
    engine = Engine(settings, FolderSlides(folder), lambda: load_backend("mini", num_threads=1))
    yield Alone(engine)
    engine.close()


def converse(alone: Alone, seed: int) -> int:
    """Eight dialogues of two questions at once, by chance; how many were stopped in the middle."""
    rng = random.Random(seed)
    wants = [
        [(rng.choice(QUESTIONS), rng.choice((-1, -1, rng.randrange(MOST_HEARD)))) for _ in "12"]
        for _ in range(NUM_CHATS)
    ]
    heard: list[list[tuple[tuple[str, ...], Told]]] = [[] for _ in wants]
    start = threading.Barrier(NUM_CHATS)

    def run(number: int) -> None:
        start.wait()
        answered: tuple[str, ...] = ()
        for question, most in wants[number]:
            asked = (*answered, question)
            told = ask(alone.engine, asked, f"{seed} {number}", most)
            heard[number].append((asked, told))
            answered = asked if told.is_whole else answered

    threads = [threading.Thread(target=run, args=(number,)) for number in range(NUM_CHATS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert [len(turns) for turns in heard] == [2] * NUM_CHATS
    turns = [turn for turns in heard for turn in turns]
    for asked, told in turns:
        wanted = alone[asked].words
        assert told.words == (wanted if told.is_whole else wanted[: len(told.words)]), asked
    return sum(len(told.words) > 0 and not told.is_whole for _, told in turns)


@pytest.mark.slow
def test_eight_chats_are_told_what_each_is_told_alone(alone: Alone) -> None:
    converse(alone, 0)


@pytest.mark.proof
def test_however_they_ask_and_stop(alone: Alone) -> None:
    assert sum(converse(alone, seed) for seed in range(1, 41)) > 0
