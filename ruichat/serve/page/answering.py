"""Answers that are being written: they belong to their chat, whatever tab looks at them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from ruichat.chat.case_answer import CaseAnswer
from ruichat.errors import ArtifactError, RuiChatError
from ruichat.serve.engine.events import Done, Event, Failed, Reading, ThoughtWords, Waiting, Words
from ruichat.serve.engine.requests import Ticket
from ruichat.storage.database import chats
from ruichat.storage.database.connect import Database
from ruichat.storage.database.models import Message, MessageState

log = logging.getLogger(__name__)

GRACE_S = 5.0
"""How long an answer goes on that no open page waits for, seconds: a page that is reloaded finds
it going on, one that is closed frees the model soon."""

CLOSING_S = 5.0
"""How long a server that stops waits for the last words of an answer, seconds."""


class Answering:
    """One answer: follows its ticket, and keeps what came of it when it ends.

    Args:
        ticket: the engine's.
        question: kept before; the answer comes after it.
        database: where the answer is kept.
        on_end: called after it was kept.

    Attributes:
        text: words so far.
        thought: the model's thought so far.
        progress: what it waits for, as JSON values; None once it is being written.
        version: grows with every change.
        error: why there is none.
    """

    def __init__(
        self,
        ticket: Ticket,
        question: Message,
        database: Database,
        *,
        user_id: str,
        on_end: Callable[[Answering], None],
    ) -> None:
        self.question = question
        self.text = self.thought = ""
        self.progress: dict[str, Any] | None = None
        self.error: RuiChatError | None = None
        self.version = 0
        self.is_ended = False
        self._ticket, self._database, self._user_id = ticket, database, user_id
        self._on_end = on_end
        self._lock = threading.Lock()
        self._num_watchers = 0
        self._leaving: threading.Timer | None = None
        self._thread = threading.Thread(target=self._follow, name="page-answer", daemon=True)

    @property
    def chat_id(self) -> str:
        """Of its chat."""
        return self.question.chat_id

    def start(self) -> None:
        """Follow the ticket in a thread of its own; it ends with the answer."""
        self._thread.start()
        self._check_watched()

    def join(self) -> None:
        """Wait until it has ended and is kept, but not for ever."""
        self._thread.join(CLOSING_S)

    def stop(self) -> None:
        """Let the model stop; what it wrote is kept."""
        self._ticket.cancel()

    @contextmanager
    def watched(self) -> Generator[None]:
        """While somebody looks at it."""
        with self._lock:
            self._num_watchers += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_watchers -= 1
            self._check_watched()

    def _check_watched(self) -> None:
        """Stop it after a while, unless somebody looks at it then."""
        with self._lock:
            if self._num_watchers or self.is_ended or self._leaving is not None:
                return
            self._leaving = threading.Timer(GRACE_S, self._leave)
            self._leaving.daemon = True
            self._leaving.start()

    def _leave(self) -> None:
        with self._lock:
            self._leaving = None
            is_watched = self._num_watchers > 0
        if not is_watched:
            self.stop()

    def _follow(self) -> None:
        last: Event | None = None
        for event in self._ticket.events():
            last = event
            self._note(event)
            self.version += 1
        try:
            self._keep(last)
        except Exception as error:  # the page waits for the end, whatever went wrong
            log.error("chat %s: answer not kept: %s", self.chat_id, type(error).__name__)
            unknown = ArtifactError("the answer couldn't be kept", hint="See the server's log")
            self.error = error if isinstance(error, RuiChatError) else unknown
        self.is_ended = True
        self.version += 1
        self._on_end(self)

    def _note(self, event: Event) -> None:
        match event:
            case Waiting(position):
                self.progress = {"position": position} if position else None
            case Reading(slide_id, stage, done, total):
                self.progress = {"slide_id": slide_id, "stage": stage, "done": done, "total": total}
            case ThoughtWords(text):
                self.thought, self.progress = self.thought + text, None
            case Words(text):
                self.text, self.progress = self.text + text, None
            case Failed(error):
                self.error = error
            case _:
                self.progress = None

    def _keep(self, last: Event | None) -> None:
        state: MessageState = "stopped"
        text, thought, answer = self.text, self.thought, None
        if isinstance(last, Done):
            state, answer = "complete", last.answer.to_json()
            text = last.answer.text
            # Of several slides each part holds its own.
            thought = self.thought if isinstance(last.answer, CaseAnswer) else last.answer.thought
        elif isinstance(last, Failed):
            state = "failed"
        with self._database.session() as session:
            chats.add_answer(
                session,
                self.chat_id,
                user_id=self._user_id,
                text=text,
                thought=thought,
                state=state,
                answer=answer,
                slide_ids=self.question.slide_ids,
                region_id=self.question.region_id,
            )
