"""Chats about cases, their messages, and what people thought of the answers."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request

from ruichat.serve.access.routes import Asker, Reader
from ruichat.serve.api.shapes import (
    CONFLICT,
    FULL,
    NOT_FOUND,
    Given,
    IdPath,
    Line,
    Page,
    Part,
    Prose,
    Shown,
    problems,
)
from ruichat.serve.services import services_of
from ruichat.storage.database import chats
from ruichat.storage.database.models import Language, MessageState, Speaker

router = APIRouter(tags=["chats"])


class NewChat(Given):
    """A chat to be begun."""

    title: Line = ""
    language: Language | None = None
    """Of its answers; yours if none."""


class ChatChange(Given):
    """What is to be another; what isn't given stays."""

    title: Line | None = None
    language: Language | None = None


class Feedback(Given):
    """What you think of an answer."""

    feedback: Literal[-1, 0, 1]
    """1 like, -1 dislike, 0 takes it back."""
    reason: Prose = ""


class ChatShown(Shown):
    """A chat."""

    case_id: str
    user_id: str
    """Who began it; only they write in it."""
    language: Language
    title: str
    num_messages: int


class MessageShown(Shown):
    """One turn of a chat."""

    chat_id: str
    position: int
    role: Speaker
    text: str
    """Of an assistant's turn: written by AI."""
    thought: str
    state: MessageState
    answer: dict[str, Any] | None
    """Claims, citations and facts; boxes in pixels of level 0."""
    slide_ids: list[str]
    region_id: str | None
    feedback: int
    feedback_reason: str


@router.get("/cases/{case_id}/chats", responses=problems(NOT_FOUND))
def list_chats(request: Request, user: Reader, case_id: IdPath, part: Part) -> Page[ChatShown]:
    """The chats of a case, oldest first."""
    with services_of(request).database.session() as session:
        found = chats.list_chats(session, case_id, user_id=user.id)
        return part.of(found, ChatShown)


@router.post("/cases/{case_id}/chats", status_code=201, responses=problems(NOT_FOUND, FULL))
def create_chat(request: Request, user: Asker, case_id: IdPath, new: NewChat) -> ChatShown:
    """Begin a chat about a case."""
    with services_of(request).database.session() as session:
        chat = chats.create_chat(
            session,
            user_id=user.id,
            case_id=case_id,
            language=new.language or user.language,
            title=new.title,
        )
        return ChatShown.model_validate(chat)


@router.get("/chats/{chat_id}", responses=problems(NOT_FOUND))
def get_chat(request: Request, user: Reader, chat_id: IdPath) -> ChatShown:
    """One chat."""
    with services_of(request).database.session() as session:
        return ChatShown.model_validate(chats.get_chat(session, chat_id, user_id=user.id))


@router.patch("/chats/{chat_id}", responses=problems(NOT_FOUND, CONFLICT, FULL))
def change_chat(request: Request, user: Asker, chat_id: IdPath, change: ChatChange) -> ChatShown:
    """Change title or language of a chat of yours; what was said stays."""
    with services_of(request).database.session() as session:
        chat = chats.update_chat(
            session, chat_id, user_id=user.id, title=change.title, language=change.language
        )
        return ChatShown.model_validate(chat)


@router.delete("/chats/{chat_id}", status_code=204, responses=problems(NOT_FOUND, FULL))
def delete_chat(request: Request, user: Asker, chat_id: IdPath) -> None:
    """Remove a chat of yours with its messages."""
    with services_of(request).database.session() as session:
        chats.delete_chat(session, chat_id, user_id=user.id)


@router.get("/chats/{chat_id}/messages", responses=problems(NOT_FOUND))
def list_messages(
    request: Request, user: Reader, chat_id: IdPath, part: Part
) -> Page[MessageShown]:
    """What was asked and answered, in order."""
    with services_of(request).database.session() as session:
        found = chats.list_messages(session, chat_id, user_id=user.id)
        return part.of(found, MessageShown)


@router.put(
    "/chats/{chat_id}/messages/{message_id}/feedback", responses=problems(NOT_FOUND, CONFLICT, FULL)
)
def set_feedback(
    request: Request, user: Asker, chat_id: IdPath, message_id: IdPath, given: Feedback
) -> MessageShown:
    """Say what you think of an answer in your chat."""
    with services_of(request).database.session() as session:
        message = chats.set_feedback(
            session,
            chat_id,
            message_id,
            user_id=user.id,
            feedback=given.feedback,
            reason=given.reason,
        )
        return MessageShown.model_validate(message)
