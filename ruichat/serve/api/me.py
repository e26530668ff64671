"""You: who the server takes you for, your language, your tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request

from ruichat.serve.access.roles import CurrentUser, Right
from ruichat.serve.access.routes import Reader
from ruichat.serve.api.shapes import (
    CONFLICT,
    FULL,
    NOT_FOUND,
    FullLine,
    Given,
    IdPath,
    Page,
    Part,
    Shown,
    problems,
)
from ruichat.serve.services import services_of
from ruichat.storage.database import users
from ruichat.storage.database.columns import now
from ruichat.storage.database.models import Language, Role

router = APIRouter(tags=["me"])

MAX_DAYS = 3650


class Me(BaseModel):
    """Who the server takes you for."""

    id: str
    name: str
    role: Role
    rights: list[Right]
    language: Language
    means: Literal["cookie", "token", "single"]
    """How you were recognised; single: there is no login on this machine."""
    csrf_token: str
    """To be sent as X-CSRF-Token with every write by cookie; empty without one."""


class MyChange(Given):
    """What is to be another."""

    language: Language


class NewTokenGiven(Given):
    """A token for a program of yours."""

    name: FullLine
    """What it is for."""
    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = 90
    """How long it holds."""


class TokenShown(Shown):
    """A token, without what it reads."""

    name: str
    last_used_at: datetime | None
    expires_at: datetime | None


class TokenOnce(TokenShown):
    """A new token."""

    token: str
    """What it reads: shown this once."""


@router.get("/me", responses=problems())
def who_am_i(user: Reader) -> Me:
    """Who the server takes you for."""
    return _shown(user, user.language)


@router.patch("/me", responses=problems(CONFLICT, FULL))
def change_me(request: Request, user: Reader, change: MyChange) -> Me:
    """Choose your language, of pages, messages and new chats."""
    services = services_of(request)
    with services.database.session() as session:
        users.set_language(session, user.id, language=change.language)
    services.identities.forget_all()
    return _shown(user, change.language)


@router.get("/me/tokens", responses=problems())
def list_tokens(request: Request, user: Reader, part: Part) -> Page[TokenShown]:
    """Your tokens, oldest first."""
    with services_of(request).database.session() as session:
        return part.of(users.list_tokens(session, user.id), TokenShown)


@router.post("/me/tokens", status_code=201, responses=problems(FULL))
def create_token(request: Request, user: Reader, new: NewTokenGiven) -> TokenOnce:
    """A new token, by which a program acts for you."""
    with services_of(request).database.session() as session:
        expires_at = now() + timedelta(days=new.days)
        made = users.create_token(session, user.id, name=new.name, expires_at=expires_at)
        rows = {row.id: row for row in users.list_tokens(session, user.id)}
        shown = TokenShown.model_validate(rows[made.id])
        return TokenOnce(token=made.token, **shown.model_dump())


@router.delete("/me/tokens/{token_id}", status_code=204, responses=problems(NOT_FOUND, FULL))
def delete_token(request: Request, user: Reader, token_id: IdPath) -> None:
    """Take a token back; programs that use it are out at once."""
    services = services_of(request)
    with services.database.session() as session:
        users.delete_token(session, token_id, user_id=user.id)
    services.identities.forget_all()


def _shown(user: CurrentUser, language: Language) -> Me:
    return Me(
        id=user.id,
        name=user.name,
        role=user.role,
        rights=[right for right in Right if user.holds(right)],
        language=language,
        means=user.means,
        csrf_token=user.csrf_token,
    )
