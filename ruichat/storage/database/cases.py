"""Cases, and the one rule of who sees what: a case is its owner's and its members'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.orm import Session

from ruichat.errors import ConflictError, InputError, NotFoundError
from ruichat.storage.database.columns import now
from ruichat.storage.database.models import Case, CaseMember, User
from ruichat.storage.database.seen import locked


@dataclass(frozen=True)
class CaseEntry:
    """What an admin sees of everybody's cases: nothing about the patient."""

    id: str
    owner_id: str
    member_ids: tuple[str, ...]
    created_at: datetime


def visible_cases(user_id: str) -> Select[Any]:
    """Ids of the cases that a user may see; all access to what is in a case goes through this.

    An admin sees no more than others: the role manages users and members, not patients.
    """
    shared = select(CaseMember.case_id).where(CaseMember.user_id == user_id)
    return select(Case.id).where(or_(Case.owner_id == user_id, Case.id.in_(shared)))


def create_case(
    session: Session, *, user_id: str, title: str, organ: str | None = None, context: str = ""
) -> Case:
    """A new case, owned by the user.

    Raises:
        InputError: it has no title.
    """
    case = Case(owner_id=user_id, title=_titled(title), organ=organ, context=context)
    session.add(case)
    session.flush()
    return case


def list_cases(session: Session, *, user_id: str) -> Sequence[Case]:
    """The cases that a user may see, last changed first."""
    wanted = select(Case).where(Case.id.in_(visible_cases(user_id)))
    return session.scalars(wanted.order_by(Case.updated_at.desc(), Case.id)).all()


def get_case(session: Session, case_id: str, *, user_id: str) -> Case:
    """One case.

    Raises:
        NotFoundError: there is none, or the user may not see it.
    """
    wanted = select(Case).where(Case.id == case_id, Case.id.in_(visible_cases(user_id)))
    case = session.scalar(wanted)
    if case is None:
        raise NotFoundError("there is no such case")
    return case


def update_case(
    session: Session,
    case_id: str,
    *,
    user_id: str,
    title: str | None = None,
    organ: str | None = None,
    context: str | None = None,
    seen: Mapping[str, str | None] | None = None,
) -> Case:
    """Change what is given; an empty organ clears it.

    Args:
        seen: fields as the user saw them; where one is another by now, nothing is changed.

    Raises:
        NotFoundError: there is no such case for the user.
        ConflictError: it isn't as it was seen.
        InputError: the title is empty.
    """
    case = get_case(session, case_id, user_id=user_id)
    if seen:
        case = locked(session, case, seen)
    if title is not None:
        case.title = _titled(title)
    if organ is not None:
        case.organ = organ or None
    if context is not None:
        case.context = context
    session.flush()
    return case


def touch_case(session: Session, case_id: str) -> None:
    """Note that something in a case has changed, so that it comes first in the list."""
    case = session.get(Case, case_id)
    if case is not None:
        case.updated_at = now()


def delete_case(session: Session, case_id: str, *, user_id: str) -> None:
    """Remove a case with all that is in it; files of slides are the caller's to remove.

    Raises:
        NotFoundError: the user owns no such case.
    """
    session.delete(_owned(session, case_id, user_id=user_id))
    session.flush()


def list_members(session: Session, case_id: str, *, user_id: str) -> Sequence[User]:
    """With whom a case is shared, by name.

    Raises:
        NotFoundError: there is no such case for the user.
    """
    get_case(session, case_id, user_id=user_id)
    members = select(CaseMember.user_id).where(CaseMember.case_id == case_id)
    return session.scalars(select(User).where(User.id.in_(members)).order_by(User.name)).all()


def add_member(session: Session, case_id: str, *, user_id: str, member_id: str) -> None:
    """Share a case; its owner or an admin may.

    Raises:
        NotFoundError: there is no such case for them, or no such active member.
        ConflictError: the member owns it.
    """
    case = _managed(session, case_id, user_id=user_id)
    member = session.get(User, member_id)
    if member is None or not member.is_active:
        raise NotFoundError("there is no such user")
    if member.id == case.owner_id:
        raise ConflictError("the case's owner needs no share of it")
    if session.get(CaseMember, (case_id, member_id)) is None:
        session.add(CaseMember(case_id=case_id, user_id=member_id))
        session.flush()


def remove_member(session: Session, case_id: str, *, user_id: str, member_id: str) -> None:
    """Share a case no longer; its owner, an admin, or the member may.

    Raises:
        NotFoundError: there is no such case for them.
    """
    if user_id == member_id:
        get_case(session, case_id, user_id=user_id)
    else:
        _managed(session, case_id, user_id=user_id)
    session.execute(
        delete(CaseMember).where(CaseMember.case_id == case_id, CaseMember.user_id == member_id)
    )


def list_entries(session: Session) -> Sequence[CaseEntry]:
    """Everybody's cases as an admin may see them, newest first."""
    members: dict[str, list[str]] = {}
    for case_id, user_id in session.execute(select(CaseMember.case_id, CaseMember.user_id)):
        members.setdefault(case_id, []).append(user_id)
    rows = session.execute(
        select(Case.id, Case.owner_id, Case.created_at).order_by(Case.created_at.desc(), Case.id)
    )
    return [
        CaseEntry(case_id, owner_id, tuple(sorted(members.get(case_id, ()))), created_at)
        for case_id, owner_id, created_at in rows
    ]


def count_cases(session: Session) -> int:
    """How many there are."""
    return session.scalar(select(func.count()).select_from(Case)) or 0


def _owned(session: Session, case_id: str, *, user_id: str) -> Case:
    case = session.scalar(select(Case).where(Case.id == case_id, Case.owner_id == user_id))
    if case is None:
        raise NotFoundError("there is no such case of yours")
    return case


def _managed(session: Session, case_id: str, *, user_id: str) -> Case:
    """A case whose members the user may change."""
    user = session.get(User, user_id)
    if user is None or user.role != "admin":
        return _owned(session, case_id, user_id=user_id)
    case = session.get(Case, case_id)
    if case is None:
        raise NotFoundError("there is no such case")
    return case


def _titled(title: str) -> str:
    if not title.strip():
        raise InputError("a case needs a title", hint="Give it the specimen's number or a name")
    return title.strip()
