"""An engine over slides of a folder, with a scripted model that waits where a test wants it to."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fakes_chat import SURE, ScriptedModel, ScriptedSession, make_backend

from ruichat.chat.backend import Backend
from ruichat.model.chat_model import Piece, SlideContext
from ruichat.serve.engine.engine import Engine
from ruichat.serve.engine.events import Event
from ruichat.serve.engine.requests import Ask, Ticket
from ruichat.serve.engine.settings import EngineSettings
from ruichat.slide.opening import open_slide
from ruichat.slide.slide import Slide

PATIENCE_S = 20.0
"""Longest wait for what must happen, on a busy machine."""


class FolderSlides:
    """Opens slides by the names of their files, or by ids for these; counts how often."""

    def __init__(self, folder: Path, names: dict[str, str] | None = None) -> None:
        self.folder, self.names = folder, names or {}
        self.opened: Counter[str] = Counter()

    @contextmanager
    def open(self, slide_id: str) -> Iterator[Slide]:
        self.opened[slide_id] += 1
        with open_slide(self.folder / self.names.get(slide_id, slide_id)) as slide:
            yield slide


class HeldModel(ScriptedModel):
    """A scripted model whose answers stand still while it is held."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        super().__init__(answer)
        self.going = threading.Event()
        self.going.set()
        self.begun: list[str] = []

    def open(self, slide: SlideContext | None) -> ScriptedSession:
        self.opened.append(slide)
        session = _HeldSession(self.answer, self.logprob)
        session.model = self
        self.sessions.append(session)
        return session


class _HeldSession(ScriptedSession):
    model: HeldModel

    def stream(
        self, question: str, *, max_tokens: int = 160, think: bool | None = None
    ) -> Generator[Piece, None, None]:
        self.model.begun.append(question)
        for piece in super().stream(question, max_tokens=max_tokens, think=think):
            while not self.model.going.wait(0.01):
                yield Piece("", 80, SURE)  # a piece without words, as half a character is
            yield piece

    def fork(self) -> ScriptedSession:
        twin = replace(self)
        twin.model = self.model
        return twin


def held_backend(answer: str | Callable[[str], str] = "Yes, carcinoma nests in [R1].") -> Backend:
    words = answer if callable(answer) else lambda _: answer
    return replace(make_backend(""), model=HeldModel(words))


@contextmanager
def running(
    folder: Path, backend: Backend | None = None, **settings: object
) -> Iterator[tuple[Engine, HeldModel, FolderSlides]]:
    """An engine that ends with the context."""
    backend = backend or held_backend()
    slides = FolderSlides(folder)
    engine = Engine(EngineSettings.model_validate(settings), slides, lambda: backend)
    assert isinstance(backend.model, HeldModel)
    try:
        yield engine, backend.model, slides
    finally:
        backend.model.going.set()
        engine.close()


def ask(engine: Engine, slide_ids: str | Sequence[str], question: str, **rest: object) -> Ticket:
    """A question about slides, from a person "ann" if nobody is named."""
    ids = (slide_ids,) if isinstance(slide_ids, str) else tuple(slide_ids)
    values = {"user_id": "ann", "slide_ids": ids, "question": question} | rest
    return engine.ask(Ask(**values))  # type: ignore[arg-type]


def events_of(ticket: Ticket) -> list[Event]:
    """All events, to the last."""
    return list(ticket.events())


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    step = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if holds():
            return
        step.wait(0.01)
    raise AssertionError("it never came to hold")
