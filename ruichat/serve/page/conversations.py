"""Chats of the page: questions go to the engine, and what is seen of a chat follows it."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy.orm import Session

from ruichat.chat.outline import Outline0
from ruichat.errors import ConflictError, RuiChatError
from ruichat.serve.engine.engine import Engine
from ruichat.serve.engine.requests import Ask, DrawnRegion, Ticket
from ruichat.serve.page.answering import Answering
from ruichat.serve.page.asked import Asked
from ruichat.serve.page.shown import ChatShown, Shown, has_lost_region, read_chat
from ruichat.serve.problems import status_of
from ruichat.storage.database import cases, chats, regions
from ruichat.storage.database.connect import Database
from ruichat.storage.database.models import Message

LOOK_S = 0.08
"""How often an answer that is being written is looked at, seconds: smooth for a reader, and many
words share one message to the browser."""

BEAT_S = 1.0
"""How often a tab is told that nothing has changed: one that is gone is noticed by it."""

MAX_FAILURES = 1000
"""Chats of which it is remembered why their last question has no answer; not kept on disk."""

TITLE_CHARS = 60
"""Of a chat's first question, by which it is called."""


@dataclass(frozen=True)
class _Question:
    kept: Message
    earlier: tuple[str, ...]
    region: DrawnRegion | None
    context: str


class Conversations:
    """Asks, answers anew, stops and shows; access is checked with every call.

    Args:
        database: where chats are kept.
        engine: answers.
    """

    def __init__(self, database: Database, engine: Engine) -> None:
        self._database, self._engine = database, engine
        self._lock = threading.Lock()
        self._open: dict[str, Answering | None] = {}
        self._failures: OrderedDict[str, RuiChatError] = OrderedDict()

    def ask(self, asked: Asked, *, user_id: str) -> str:
        """Take a question in, or have the last one answered anew.

        Returns:
            The chat's id, of a new one if the question began it.

        Raises:
            NotFoundError: there is no such case, slide, region or chat for the user.
            InputError: the question can't be asked.
            ConflictError: an answer is being written in this chat already, or the answer to be
                given anew isn't the chat's last, or its region was deleted.
            EngineFullError: too many wait; the question isn't kept.
        """
        with self._reserved(asked.chat_id):
            ticket: Ticket | None = None
            try:
                with self._database.session() as session:
                    question = self._keep(session, asked, user_id=user_id)
                    # Within the block: a question that the engine refuses isn't kept.
                    ticket = self._engine.ask(self._request(asked, question, user_id=user_id))
            except BaseException:
                if ticket is not None:
                    ticket.cancel()
                raise
            answering = Answering(
                ticket, question.kept, self._database, user_id=user_id, on_end=self._forget
            )
            with self._lock:
                self._open[answering.chat_id] = answering
        answering.start()
        return answering.chat_id

    @contextmanager
    def _reserved(self, chat_id: str | None) -> Generator[None]:
        """One question at a time in a chat; given free if it can't be asked."""
        if chat_id is None:
            yield
            return
        with self._lock:
            if chat_id in self._open:
                raise ConflictError("an answer is being written already", hint="Wait, or stop it")
            self._open[chat_id] = None
        try:
            yield
        except BaseException:
            with self._lock:
                self._open.pop(chat_id, None)
            raise

    def stop(self, chat_id: str, *, user_id: str) -> None:
        """Stop the answer that is being written in a chat of the user.

        Raises:
            NotFoundError: the user has begun no such chat.
        """
        with self._database.session() as session:
            chats.own_chat(session, chat_id, user_id=user_id)
        answering = self._open.get(chat_id)
        if answering is not None:
            answering.stop()

    async def watch(self, chat_id: str, *, user_id: str) -> AsyncGenerator[Shown]:
        """A chat as it is now, and as long as an answer is written, how it goes on.

        Raises:
            NotFoundError: there is no such chat for the user.
        """
        answering = self._open.get(chat_id)
        if answering is not None:
            with answering.watched():
                kept = await asyncio.to_thread(self._read, chat_id, user_id)
                async for shown in _follow(kept, answering):
                    yield shown
        # Only now: an answer that has ended since is kept.
        kept = await asyncio.to_thread(self._read, chat_id, user_id)
        yield shown_of(kept, failure=self._failures.get(chat_id))

    def is_open(self, chat_id: str) -> bool:
        """Whether an answer is being written in a chat."""
        return chat_id in self._open

    def close(self) -> None:
        """Stop all answers and wait until what was written of them is kept."""
        with self._lock:
            open_now = [answering for answering in self._open.values() if answering is not None]
        for answering in open_now:
            answering.stop()
        for answering in open_now:
            answering.join()

    def _read(self, chat_id: str, user_id: str) -> ChatShown:
        with self._database.session() as session:
            return read_chat(session, chat_id, user_id=user_id)

    def _keep(self, session: Session, asked: Asked, *, user_id: str) -> _Question:
        """The question as kept, after those answered before it."""
        chat_id = asked.chat_id
        if asked.retry is not None:
            assert chat_id is not None
            last = chats.list_messages(session, chat_id, user_id=user_id)[-1:]
            is_lost = any(has_lost_region(message) for message in last)
            kept = chats.take_back_answer(session, chat_id, user_id=user_id, message_id=asked.retry)
            if is_lost:
                raise ConflictError(
                    "the region of this question was deleted",
                    hint="Draw it again, and ask about that one",
                )
        else:
            assert asked.case_id is not None
            if chat_id is None:
                chat = chats.create_chat(
                    session,
                    user_id=user_id,
                    case_id=asked.case_id,
                    language=asked.language,
                    title=asked.text.strip()[:TITLE_CHARS],
                )
                chat_id = chat.id
            kept = chats.add_question(
                session,
                chat_id,
                user_id=user_id,
                text=asked.text,
                slide_ids=asked.slide_ids,
                region_id=asked.region_id,
            )
        messages = chats.list_messages(session, chat_id, user_id=user_id)
        region = None
        if kept.region_id is not None:
            row = regions.get_region(session, kept.region_id, user_id=user_id)
            region = DrawnRegion(row.slide_id, Outline0.of(row.points))
        case_id = chats.get_chat(session, chat_id, user_id=user_id).case_id
        context = cases.get_case(session, case_id, user_id=user_id).context
        return _Question(kept, answered_before(messages, kept), region, context)

    def _request(self, asked: Asked, question: _Question, *, user_id: str) -> Ask:
        return Ask(
            user_id=user_id,
            chat_id=question.kept.chat_id,
            slide_ids=tuple(question.kept.slide_ids),
            question=question.kept.text,
            region=question.region,
            earlier=question.earlier,
            think=asked.think,
            show_thinking=asked.think,
            context=question.context,
        )

    def _forget(self, answering: Answering) -> None:
        with self._lock:
            self._open.pop(answering.chat_id, None)
            self._failures.pop(answering.chat_id, None)
            if answering.error is not None:
                self._failures[answering.chat_id] = answering.error
            while len(self._failures) > MAX_FAILURES:
                self._failures.popitem(last=False)


def answered_before(messages: Sequence[Message], question: Message) -> tuple[str, ...]:
    """Questions about the same slides that were answered before this one, the oldest first."""
    earlier = [message for message in messages if message.position < question.position]
    return tuple(
        asked.text
        for asked, answer in pairwise(earlier)
        if asked.role == "user"
        and answer.role == "assistant"
        and answer.state == "complete"
        and asked.slide_ids == question.slide_ids
        and asked.region_id == question.region_id
        and not has_lost_region(answer)
    )


def shown_of(
    chat: ChatShown, *, running: Answering | None = None, failure: RuiChatError | None = None
) -> Shown:
    """What the page is told of a chat.

    Args:
        running: the answer that is being written.
        failure: why the last question has no answer.
    """
    messages = [*chat.messages]
    if running is not None:
        messages.append(_running_shown(running))
    elif failure is not None and messages:
        messages[-1] = messages[-1] | {"error": problem_shown(failure)}
    return {
        "chat_id": chat.chat_id,
        "case_id": chat.case_id,
        "created_at": chat.created_at,
        "messages": messages,
        "running": running is not None,
        "progress": None if running is None else running.progress,
    }


def problem_shown(error: RuiChatError) -> Shown:
    """Why something failed; the status names the kind, for which the page has words."""
    return {"message": error.message, "hint": error.hint, "status": status_of(error)}


def _running_shown(answering: Answering) -> Shown:
    return {
        "id": "running",
        "role": "assistant",
        "text": answering.text,
        "thought": answering.thought,
        "state": "running",
        "feedback": 0,
        "feedback_reason": "",
        "slide_ids": answering.question.slide_ids,
        "region": None,
        "answer": None,
    }


async def _follow(kept: ChatShown, answering: Answering) -> AsyncGenerator[Shown]:
    """How an answer goes on, until it has ended."""
    version, since_told = -1, 0.0
    while not answering.is_ended:
        if answering.version != version or since_told >= BEAT_S:
            version, since_told = answering.version, 0.0
            yield shown_of(kept, running=answering)
        await asyncio.sleep(LOOK_S)
        since_told += LOOK_S
