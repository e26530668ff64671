"""Who may log in: for admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from ruichat.serve.access.routes import Admin
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
from ruichat.storage.database.models import Language, Role
from ruichat.storage.database.users import MAX_PASSWORD, MIN_PASSWORD

router = APIRouter(tags=["users"])

Password = Annotated[str, Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]


class NewUser(Given):
    """Somebody to be let in."""

    name: FullLine
    role: Role
    password: Password
    language: Language | None = None
    """The server's if none is given."""


class UserChange(Given):
    """What is to be another; what isn't given stays."""

    role: Role | None = None
    password: Password | None = None
    language: Language | None = None
    is_active: bool | None = None


class UserShown(Shown):
    """Somebody who may log in, or might again."""

    name: str
    role: Role
    language: Language
    is_active: bool


@router.get("/users", responses=problems())
def list_users(request: Request, user: Admin, part: Part) -> Page[UserShown]:
    """Everybody, by name."""
    with services_of(request).database.session() as session:
        return part.of(users.list_users(session), UserShown)


@router.post("/users", status_code=201, responses=problems(CONFLICT, FULL))
async def add_user(request: Request, user: Admin, new: NewUser) -> UserShown:
    """Let somebody in."""
    services = services_of(request)
    language = new.language or services.settings.language

    def work() -> UserShown:
        with services.database.session() as session:
            made = users.create_user(
                session, **new.model_dump(exclude={"language"}), language=language
            )
            return UserShown.model_validate(made)

    added = await services.login_gate.hashing(work)
    services.identities.forget_all()
    return added


@router.get("/users/{user_id}", responses=problems(NOT_FOUND))
def get_user(request: Request, user: Admin, user_id: IdPath) -> UserShown:
    """One of them."""
    with services_of(request).database.session() as session:
        return UserShown.model_validate(users.get_user(session, user_id))


@router.patch("/users/{user_id}", responses=problems(NOT_FOUND, CONFLICT, FULL))
async def change_user(
    request: Request, user: Admin, user_id: IdPath, change: UserChange
) -> UserShown:
    """Give somebody another role or password, keep them out, or let them in again."""
    services = services_of(request)

    def work() -> UserShown:
        with services.database.session() as session:
            if change.role is not None:
                users.set_role(session, user_id, role=change.role)
            if change.is_active is not None:
                users.set_active(session, user_id, is_active=change.is_active)
            if change.language is not None:
                users.set_language(session, user_id, language=change.language)
            if change.password is not None:
                users.set_password(session, user_id, password=change.password)
            return UserShown.model_validate(users.get_user(session, user_id))

    changed = await (
        run_in_threadpool(work) if change.password is None else services.login_gate.hashing(work)
    )
    services.identities.forget_all()
    return changed
