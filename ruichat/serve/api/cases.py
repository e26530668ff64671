"""Cases and with whom they are shared."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from starlette.requests import Request

from ruichat.errors import NotFoundError
from ruichat.serve.access.routes import Admin, Reader, Writer
from ruichat.serve.api.shapes import (
    CONFLICT,
    FULL,
    NOT_FOUND,
    FullLine,
    Given,
    IdPath,
    Line,
    Page,
    Part,
    Prose,
    Shown,
    problems,
    seen_in,
)
from ruichat.serve.services import services_of
from ruichat.storage.database import cases, slides, users

router = APIRouter(tags=["cases"])


class NewCase(Given):
    """A case to be made."""

    title: FullLine
    organ: Line | None = None
    context: Prose = ""
    """Clinical context in the requester's words."""


class CaseSeen(Given):
    """Fields of a case as you saw them; those that aren't given may have become others."""

    title: Line = ""
    organ: Line | None = None
    context: Prose = ""


class CaseChange(Given):
    """What is to be another; what isn't given stays."""

    title: FullLine | None = None
    organ: Line | None = None
    """Empty: not known."""
    context: Prose | None = None
    seen: CaseSeen | None = None
    """If one of these was changed since, nothing is (409)."""


class CaseShown(Shown):
    """A case."""

    owner_id: str
    title: str
    organ: str | None
    context: str
    updated_at: datetime


class MemberName(Given):
    """Somebody with whom a case is to be shared."""

    name: FullLine


class Member(Shown):
    """Somebody with whom a case is shared."""

    name: str


class CaseEntryShown(Shown):
    """What an admin sees of everybody's cases: nothing about the patient."""

    owner_id: str
    member_ids: list[str]


@router.get("/cases", responses=problems())
def list_cases(request: Request, user: Reader, part: Part) -> Page[CaseShown]:
    """Your cases and those shared with you, last changed first."""
    with services_of(request).database.session() as session:
        return part.of(cases.list_cases(session, user_id=user.id), CaseShown)


@router.post("/cases", status_code=201, responses=problems(FULL))
def create_case(request: Request, user: Writer, new: NewCase) -> CaseShown:
    """A new case of yours."""
    with services_of(request).database.session() as session:
        return CaseShown.model_validate(
            cases.create_case(
                session, user_id=user.id, title=new.title, organ=new.organ, context=new.context
            )
        )


@router.get("/cases/{case_id}", responses=problems(NOT_FOUND))
def get_case(request: Request, user: Reader, case_id: IdPath) -> CaseShown:
    """One case."""
    with services_of(request).database.session() as session:
        return CaseShown.model_validate(cases.get_case(session, case_id, user_id=user.id))


@router.patch("/cases/{case_id}", responses=problems(NOT_FOUND, CONFLICT, FULL))
def change_case(request: Request, user: Writer, case_id: IdPath, change: CaseChange) -> CaseShown:
    """Change a case."""
    with services_of(request).database.session() as session:
        return CaseShown.model_validate(
            cases.update_case(
                session,
                case_id,
                user_id=user.id,
                title=change.title,
                organ=change.organ,
                context=change.context,
                seen=seen_in(change.seen),
            )
        )


@router.delete("/cases/{case_id}", status_code=204, responses=problems(NOT_FOUND, FULL))
def delete_case(request: Request, user: Writer, case_id: IdPath) -> None:
    """Remove a case of yours with all that is in it, files that were sent among it."""
    services = services_of(request)
    with services.database.session() as session:
        gone = [slide.id for slide in slides.list_slides(session, case_id, user_id=user.id)]
        cases.delete_case(session, case_id, user_id=user.id)
    services.slide_access.forget_all()
    for slide_id in gone:
        services.forget_slide(slide_id)


@router.get("/cases/{case_id}/members", responses=problems(NOT_FOUND))
def list_members(request: Request, user: Reader, case_id: IdPath, part: Part) -> Page[Member]:
    """With whom a case is shared."""
    with services_of(request).database.session() as session:
        found = cases.list_members(session, case_id, user_id=user.id)
        return part.of(found, Member)


@router.post(
    "/cases/{case_id}/members", status_code=201, responses=problems(NOT_FOUND, CONFLICT, FULL)
)
def add_member(request: Request, user: Writer, case_id: IdPath, member: MemberName) -> Member:
    """Share a case of yours; an admin may share anybody's."""
    with services_of(request).database.session() as session:
        found = users.find_user(session, name=member.name)
        if found is None:
            raise NotFoundError("there is no such user")
        cases.add_member(session, case_id, user_id=user.id, member_id=found.id)
        return Member.model_validate(found)


@router.delete(
    "/cases/{case_id}/members/{member_id}", status_code=204, responses=problems(NOT_FOUND, FULL)
)
def remove_member(request: Request, user: Reader, case_id: IdPath, member_id: IdPath) -> None:
    """Share a case no longer: its owner, an admin, or the member may."""
    services = services_of(request)
    with services.database.session() as session:
        cases.remove_member(session, case_id, user_id=user.id, member_id=member_id)
    services.slide_access.forget_all()


@router.get("/case-entries", responses=problems())
def list_entries(request: Request, user: Admin, part: Part) -> Page[CaseEntryShown]:
    """Everybody's cases, without what is in them: for admins, who manage their members."""
    with services_of(request).database.session() as session:
        return part.of(cases.list_entries(session), CaseEntryShown)
