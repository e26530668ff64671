"""Chats about cases: questions, answers as they were given, and what people thought of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from ruichat.errors import ConflictError, InputError, NotFoundError
from ruichat.storage.database.cases import get_case, touch_case, visible_cases
from ruichat.storage.database.models import (
    Chat,
    Language,
    Message,
    MessageState,
    Region,
    Slide,
)


def create_chat(
    session: Session, *, user_id: str, case_id: str, language: Language, title: str = ""
) -> Chat:
    """A new chat about a case.

    Raises:
        NotFoundError: there is no such case for the user.
    """
    get_case(session, case_id, user_id=user_id)
    chat = Chat(case_id=case_id, user_id=user_id, language=language, title=title)
    session.add(chat)
    touch_case(session, case_id)
    session.flush()
    return chat


def list_chats(session: Session, case_id: str, *, user_id: str) -> Sequence[Chat]:
    """The chats of a case, everybody's, oldest first.

    Raises:
        NotFoundError: there is no such case for the user.
    """
    get_case(session, case_id, user_id=user_id)
    wanted = select(Chat).where(Chat.case_id == case_id)
    return session.scalars(wanted.order_by(Chat.created_at, Chat.id)).all()


def get_chat(session: Session, chat_id: str, *, user_id: str) -> Chat:
    """One chat, to read.

    Raises:
        NotFoundError: there is none, or the user may not see it.
    """
    wanted = select(Chat).where(Chat.id == chat_id, Chat.case_id.in_(visible_cases(user_id)))
    chat = session.scalar(wanted)
    if chat is None:
        raise NotFoundError("there is no such chat")
    return chat


def own_chat(session: Session, chat_id: str, *, user_id: str) -> Chat:
    """One chat, to write in: only who began it may.

    Raises:
        NotFoundError: the user has begun no such chat.
    """
    chat = get_chat(session, chat_id, user_id=user_id)
    if chat.user_id != user_id:
        raise NotFoundError("there is no such chat of yours")
    return chat


def update_chat(
    session: Session,
    chat_id: str,
    *,
    user_id: str,
    language: Language | None = None,
    title: str | None = None,
) -> Chat:
    """Change what is given; what was said stays as it was.

    Raises:
        NotFoundError: the user has begun no such chat.
    """
    chat = own_chat(session, chat_id, user_id=user_id)
    if language is not None:
        chat.language = language
    if title is not None:
        chat.title = title
    session.flush()
    return chat


def delete_chat(session: Session, chat_id: str, *, user_id: str) -> None:
    """Remove a chat with its messages.

    Raises:
        NotFoundError: the user has begun no such chat.
    """
    session.delete(own_chat(session, chat_id, user_id=user_id))
    session.flush()


def add_question(
    session: Session,
    chat_id: str,
    *,
    user_id: str,
    text: str,
    slide_ids: Sequence[str] = (),
    region_id: str | None = None,
) -> Message:
    """Keep what a user asks, at the end of their chat.

    Args:
        slide_ids: of the case, which the question is about; none for all of them.
        region_id: on one of them, to which the question is bound.

    Raises:
        NotFoundError: the user has begun no such chat, or the case has no such slide or region.
        InputError: the question is empty.
    """
    if not text.strip():
        raise InputError("the question is empty", hint="Ask something about the slide")
    chat = own_chat(session, chat_id, user_id=user_id)
    _check_slides(session, chat.case_id, slide_ids)
    _check_region(session, chat.case_id, region_id)
    return _append(
        session, chat, role="user", text=text, slide_ids=list(slide_ids), region_id=region_id
    )


def add_answer(
    session: Session,
    chat_id: str,
    *,
    user_id: str,
    text: str,
    thought: str = "",
    state: MessageState = "complete",
    answer: dict[str, Any] | None = None,
    slide_ids: Sequence[str] = (),
    region_id: str | None = None,
) -> Message:
    """Keep what the model answered, at the end of the user's chat.

    Args:
        text: as it was shown; of a stopped answer, as far as it came.
        answer: with claims, citations and facts, as JSON.
        region_id: of the question; left out if the region was deleted meanwhile.

    Raises:
        NotFoundError: the user has begun no such chat.
    """
    chat = own_chat(session, chat_id, user_id=user_id)
    if region_id is not None and session.get(Region, region_id) is None:
        region_id = None
    return _append(
        session,
        chat,
        role="assistant",
        text=text,
        thought=thought,
        state=state,
        answer=answer,
        slide_ids=list(slide_ids),
        region_id=region_id,
    )


def list_messages(session: Session, chat_id: str, *, user_id: str) -> Sequence[Message]:
    """All turns of a chat, in order.

    Raises:
        NotFoundError: there is no such chat for the user.
    """
    get_chat(session, chat_id, user_id=user_id)
    wanted = select(Message).where(Message.chat_id == chat_id)
    return session.scalars(wanted.order_by(Message.position)).all()


def get_message(session: Session, chat_id: str, message_id: str, *, user_id: str) -> Message:
    """One turn of a chat.

    Raises:
        NotFoundError: there is none, or the user may not see it.
    """
    get_chat(session, chat_id, user_id=user_id)
    message = session.get(Message, message_id)
    if message is None or message.chat_id != chat_id:
        raise NotFoundError("there is no such message")
    return message


def take_back_answer(
    session: Session, chat_id: str, *, user_id: str, message_id: str | None = None
) -> Message:
    """Remove the answer that a chat ends with, so that its question is answered anew.

    Args:
        message_id: of the answer that is meant; None for whatever the chat ends with.

    Returns:
        The question, which the chat now ends with.

    Raises:
        NotFoundError: the user has begun no such chat.
        ConflictError: the chat holds no question, or ends with something else than is meant.
    """
    own_chat(session, chat_id, user_id=user_id)
    chat = _locked(session, chat_id)
    turns = select(Message).where(Message.chat_id == chat_id).order_by(Message.position.desc())
    last = session.scalars(turns.limit(2)).all()
    if message_id is not None and message_id not in [message.id for message in last[:1]]:
        raise ConflictError(
            "the chat has gone on since that answer", hint="Read on, then ask what is still open"
        )
    for message in last:
        if message.role == "user":
            session.flush()
            return message
        session.delete(message)
        chat.num_messages = message.position
    raise ConflictError("the chat holds no question to answer anew")


def set_feedback(
    session: Session,
    chat_id: str,
    message_id: str,
    *,
    user_id: str,
    feedback: int,
    reason: str = "",
) -> Message:
    """Keep what the user thinks of an answer in their chat.

    Args:
        feedback: 1 like, -1 dislike, 0 takes it back.

    Raises:
        NotFoundError: the user's chat has no such answer.
        InputError: not such a number.
    """
    if feedback not in (-1, 0, 1):
        raise InputError(f"feedback {feedback} isn't -1, 0 or 1")
    own_chat(session, chat_id, user_id=user_id)
    message = get_message(session, chat_id, message_id, user_id=user_id)
    if message.role != "assistant":
        raise NotFoundError("there is no such answer")
    message.feedback, message.feedback_reason = feedback, reason
    session.flush()
    return message


def _append(session: Session, chat: Chat, **fields: Any) -> Message:
    """A message at the next position, which no other writer can take."""
    position = _locked(session, chat.id).num_messages
    message = Message(chat_id=chat.id, position=position, **fields)
    chat.num_messages = position + 1
    session.add(message)
    touch_case(session, chat.case_id)
    session.flush()
    return message


def _locked(session: Session, chat_id: str) -> Chat:
    """The chat as it is once every other writer in it is done; they wait until we are."""
    # A write that changes nothing: the only lock that both databases have.
    session.execute(
        update(Chat)
        .where(Chat.id == chat_id)
        .values(num_messages=Chat.num_messages)
        .execution_options(synchronize_session=False)
    )
    chat = session.get(Chat, chat_id, populate_existing=True)
    if chat is None:
        raise NotFoundError("there is no such chat")
    return chat


def _check_slides(session: Session, case_id: str, slide_ids: Sequence[str]) -> None:
    wanted = set(slide_ids)
    if not wanted:
        return
    found = select(func.count()).where(Slide.case_id == case_id, Slide.id.in_(wanted))
    if session.scalar(found) != len(wanted):
        raise NotFoundError("the case has no such slide")


def _check_region(session: Session, case_id: str, region_id: str | None) -> None:
    if region_id is None:
        return
    found = select(Region.id).join(Slide, Slide.id == Region.slide_id)
    if session.scalar(found.where(Region.id == region_id, Slide.case_id == case_id)) is None:
        raise NotFoundError("the case has no such region")
