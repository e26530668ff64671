"""A question on its way through the engine: what is asked, and the ticket that follows it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from uuid import uuid4

from ruichat.chat.outline import Outline0
from ruichat.errors import RuiChatError
from ruichat.histology import Language
from ruichat.serve.engine.events import Done, Event, Failed, Reading, Stopped, Waiting


class EngineFullError(RuiChatError):
    """Too many questions wait already.

    Attributes:
        retry_after_s: seconds after which asking again makes sense.
    """

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message, hint=f"Ask again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class CancelledQuestion(Exception):
    """Nobody wants the answer any more."""


@dataclass(frozen=True)
class DrawnRegion:
    """A region that a person drew.

    Attributes:
        slide_id: the slide that it was drawn on.
        outline: its corners, level-0 pixels.
    """

    slide_id: str
    outline: Outline0


@dataclass(frozen=True)
class Ask:
    """A question; whoever asks may see these slides.

    Attributes:
        user_id: people take turns.
        slide_ids: slides that are asked, in the order of their letters: A is the first.
        question: as typed.
        region: what the question is about; None if it is about whole slides. Only its slide is
            asked then.
        chat_id: dialogue that it belongs to, so that "and where is it?" is understood; "" if none.
        earlier: questions answered in that dialogue so far, the oldest first: asked again where
            the engine has forgotten them and this one goes on from them.
        language: of fixed wordings; None follows the question.
        think: whether the model thinks before it answers.
        show_thinking: whether its thought is shown.
        context: what people say about the case; models that take it are told it as data.
        max_tokens: longest answer, text tokens; None, or more than the engine's bound, is that.
    """

    user_id: str
    slide_ids: tuple[str, ...]
    question: str
    region: DrawnRegion | None = None
    chat_id: str = ""
    earlier: tuple[str, ...] = ()
    language: Language | None = None
    think: bool = False
    show_thinking: bool = False
    context: str = ""
    max_tokens: int | None = None

    @property
    def asked_slides(self) -> tuple[str, ...]:
        """The slides that are asked, each once."""
        if self.region is not None:
            return (self.region.slide_id,)
        return tuple(dict.fromkeys(self.slide_ids))


class Ticket:
    """Follows one question; safe to use from any thread.

    Args:
        ask: the question.
        on_cancel: called once if it is cancelled before its last event.

    Attributes:
        id: for logs.
        ask: the question.
    """

    def __init__(self, ask: Ask, on_cancel: Callable[[Ticket], None]) -> None:
        self.id, self.ask = uuid4().hex, ask
        self._on_cancel = on_cancel
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._wake: Callable[[], None] | None = None
        self._cancelled = threading.Event()
        self._ended = False
        self._position = 0

    @property
    def position(self) -> int:
        """Place in the queue, 1 for the next; 0 if it doesn't wait there."""
        return self._position

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody wants the answer any more."""
        return self._cancelled.is_set()

    @property
    def is_ended(self) -> bool:
        """Whether the last event has come."""
        return self._ended

    def events(self) -> Generator[Event]:
        """Events as they come; closing it cancels the question."""
        try:
            while True:
                with self._changed:
                    while not self._events:
                        self._changed.wait()
                    event = self._events.popleft()
                yield event
                if isinstance(event, Done | Failed | Stopped):
                    return
        finally:
            self.cancel()

    async def stream(self) -> AsyncGenerator[Event]:
        """The same for an event loop, where no thread waits."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has ended, so nobody listens
                loop.call_soon_threadsafe(woken.set)

        with self._changed:
            self._wake = wake
        try:
            while True:
                woken.clear()
                with self._changed:
                    event = self._events.popleft() if self._events else None
                if event is None:
                    await woken.wait()
                    continue
                yield event
                if isinstance(event, Done | Failed | Stopped):
                    return
        finally:
            self._wake = None
            self.cancel()

    def cancel(self) -> None:
        """Say that nobody wants the answer; nothing happens after its last event."""
        with self._changed:
            if self._ended or self._cancelled.is_set():
                return
            self._cancelled.set()
        self._on_cancel(self)

    def check(self) -> None:
        """Raise `CancelledQuestion` if nobody wants the answer."""
        if self._cancelled.is_set():
            raise CancelledQuestion

    def put(self, event: Event) -> None:
        """Tell of an event; for the engine. What follows the last event is dropped."""
        with self._changed:
            if self._ended:
                return
            self._ended = isinstance(event, Done | Failed | Stopped)
            self._position = event.position if isinstance(event, Waiting) else 0
            # Who listens slowly wants to know how it stands, not how it stood.
            if self._events and isinstance(event, Waiting | Reading):
                last = self._events[-1]
                if type(last) is type(event):
                    self._events.pop()
            self._events.append(event)
            self._changed.notify_all()
            wake = self._wake
        if wake is not None:
            wake()
