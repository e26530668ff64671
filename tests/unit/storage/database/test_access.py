"""Who sees what: owners and members see a case and all that is in it, nobody else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlalchemy.orm import Session

from ruichat.errors import ConflictError, InputError, NotFoundError, RuiChatError
from ruichat.storage.database import cases, chats, findings, jobs, regions, slides, users
from ruichat.storage.database.connect import Database
from ruichat.storage.database.findings import NewFinding

SQUARE = [[0, 0], [100, 100]]
POINT = NewFinding({"type": "Point", "coordinates": [5, 5]})


@dataclass(frozen=True)
class House:
    """Ids of a case with one thing of each kind, and of the users around it."""

    owner: str
    member: str
    stranger: str
    admin: str
    case: str
    slide: str
    region: str
    chat: str
    answer: str
    finding: str
    job: str


@pytest.fixture
def house(database: Database) -> House:
    with database.session() as session:
        owner, member, stranger, admin = (
            users.create_user(session, name=name, role=role).id
            for name, role in [
                ("owner", "pathologist"),
                ("member", "pathologist"),
                ("stranger", "pathologist"),
                ("admin", "admin"),
            ]
        )
        case = cases.create_case(session, user_id=owner, title="S26-1").id
        cases.add_member(session, case, user_id=owner, member_id=member)
        where = {"name": "A1", "root": "uploads", "path": "a.svs"}
        slide = slides.add_slide(session, user_id=owner, case_id=case, **where).id
        region = regions.add_region(
            session, user_id=owner, slide_id=slide, shape="rectangle", points=SQUARE
        ).id
        chat = chats.create_chat(session, user_id=owner, case_id=case, language="zh").id
        chats.add_question(
            session, chat, user_id=owner, text="?", slide_ids=[slide], region_id=region
        )
        answer = chats.add_answer(session, chat, user_id=owner, text="!").id
        finding = findings.add_findings(
            session, [POINT], user_id=owner, slide_id=slide, origin="person"
        )[0].id
        job = jobs.queue_job(session, user_id=owner, slide_id=slide, kind="read").id
    return House(owner, member, stranger, admin, case, slide, region, chat, answer, finding, job)


Call = Callable[[Session, House, str], object]

READS: dict[str, Call] = {
    "case": lambda s, h, u: cases.get_case(s, h.case, user_id=u),
    "members": lambda s, h, u: cases.list_members(s, h.case, user_id=u),
    "slide": lambda s, h, u: slides.get_slide(s, h.slide, user_id=u),
    "slides": lambda s, h, u: slides.list_slides(s, h.case, user_id=u),
    "region": lambda s, h, u: regions.get_region(s, h.region, user_id=u),
    "regions": lambda s, h, u: regions.list_regions(s, h.slide, user_id=u),
    "chat": lambda s, h, u: chats.get_chat(s, h.chat, user_id=u),
    "chats": lambda s, h, u: chats.list_chats(s, h.case, user_id=u),
    "messages": lambda s, h, u: chats.list_messages(s, h.chat, user_id=u),
    "message": lambda s, h, u: chats.get_message(s, h.chat, h.answer, user_id=u),
    "finding": lambda s, h, u: findings.get_finding(s, h.finding, user_id=u),
    "of slide": lambda s, h, u: findings.list_findings(s, slide_id=h.slide, user_id=u),
    "of case": lambda s, h, u: findings.list_findings(s, case_id=h.case, user_id=u),
    "job": lambda s, h, u: jobs.get_job(s, h.job, user_id=u),
    "jobs": lambda s, h, u: jobs.list_jobs(s, h.slide, user_id=u),
    "unfinished": lambda s, h, u: jobs.list_unfinished(s, h.case, user_id=u),
}

SHARED_WRITES: dict[str, Call] = {
    "context": lambda s, h, u: cases.update_case(s, h.case, user_id=u, context="a"),
    "add slide": lambda s, h, u: slides.add_slide(
        s, user_id=u, case_id=h.case, name="B", root="r", path="p"
    ),
    "stain": lambda s, h, u: slides.update_slide(s, h.slide, user_id=u, stain="HE"),
    "draw": lambda s, h, u: regions.add_region(
        s, user_id=u, slide_id=h.slide, shape="rectangle", points=SQUARE
    ),
    "begin chat": lambda s, h, u: chats.create_chat(s, user_id=u, case_id=h.case, language="en"),
    "add finding": lambda s, h, u: findings.add_findings(
        s, [POINT], user_id=u, slide_id=h.slide, origin="person"
    ),
    "decide": lambda s, h, u: findings.decide_finding(
        s, h.finding, user_id=u, revision=1, status="accepted"
    ),
    "edit": lambda s, h, u: findings.edit_finding(s, h.finding, user_id=u, revision=1, name="a"),
    "delete finding": lambda s, h, u: findings.delete_finding(s, h.finding, user_id=u, revision=1),
    "read slide": lambda s, h, u: jobs.queue_job(s, user_id=u, slide_id=h.slide, kind="read"),
    "cancel": lambda s, h, u: jobs.cancel_job(s, h.job, user_id=u),
    "delete slide": lambda s, h, u: slides.delete_slide(s, h.slide, user_id=u),
    "leave": lambda s, h, u: cases.remove_member(s, h.case, user_id=u, member_id=u),
}

OWN_WRITES: dict[str, Call] = {
    "delete case": lambda s, h, u: cases.delete_case(s, h.case, user_id=u),
    "rename region": lambda s, h, u: regions.rename_region(s, h.region, user_id=u, name="a"),
    "delete region": lambda s, h, u: regions.delete_region(s, h.region, user_id=u),
    "ask": lambda s, h, u: chats.add_question(s, h.chat, user_id=u, text="?"),
    "answer": lambda s, h, u: chats.add_answer(s, h.chat, user_id=u, text="!"),
    "title": lambda s, h, u: chats.update_chat(s, h.chat, user_id=u, title="a"),
    "again": lambda s, h, u: chats.take_back_answer(s, h.chat, user_id=u),
    "like": lambda s, h, u: chats.set_feedback(s, h.chat, h.answer, user_id=u, feedback=1),
    "delete chat": lambda s, h, u: chats.delete_chat(s, h.chat, user_id=u),
}


def outcome(database: Database, call: Call, house: House, user: str) -> bool:
    """Whether a call is let in; what it did is taken back."""

    class TakeBackError(Exception):
        pass

    try:
        with database.session() as session:
            call(session, house, user)
            raise TakeBackError
    except TakeBackError:
        return True
    except NotFoundError:
        return False


def test_everything_of_a_case_is_its_owners_and_members_alone(
    database: Database, house: House
) -> None:
    for name, call in {**READS, **SHARED_WRITES}.items():
        may = [outcome(database, call, house, user) for user in (house.owner, house.member)]
        assert may == [True, True], name
        for user in (house.stranger, house.admin, "0" * 32):
            assert not outcome(database, call, house, user), name
    for name, call in OWN_WRITES.items():
        assert outcome(database, call, house, house.owner), name
        for user in (house.member, house.stranger, house.admin):
            assert not outcome(database, call, house, user), name


def test_who_is_no_longer_a_member_sees_nothing(database: Database, house: House) -> None:
    with database.session() as session:
        assert len(cases.list_cases(session, user_id=house.member)) == 1
        cases.remove_member(session, house.case, user_id=house.owner, member_id=house.member)
    with database.session() as session:
        assert list(cases.list_cases(session, user_id=house.member)) == []
    for call in READS.values():
        assert not outcome(database, call, house, house.member)


def test_an_admin_manages_members_and_sees_no_patient(database: Database, house: House) -> None:
    with database.session() as session:
        (entry,) = cases.list_entries(session)
        assert (entry.id, entry.owner_id, entry.member_ids) == (
            house.case,
            house.owner,
            (house.member,),
        )
        cases.add_member(session, house.case, user_id=house.admin, member_id=house.stranger)
        cases.add_member(session, house.case, user_id=house.admin, member_id=house.stranger)
        cases.remove_member(session, house.case, user_id=house.admin, member_id=house.member)
    with database.session() as session:
        members = cases.list_members(session, house.case, user_id=house.owner)
        assert [user.id for user in members] == [house.stranger]
        assert list(cases.list_cases(session, user_id=house.admin)) == []


@pytest.mark.parametrize("who", ["member", "stranger"])
def test_only_owner_and_admin_share(database: Database, house: House, who: str) -> None:
    with pytest.raises(NotFoundError), database.session() as session:
        cases.add_member(session, house.case, user_id=getattr(house, who), member_id=house.stranger)


def test_a_case_is_not_shared_with_its_owner_or_with_nobody(
    database: Database, house: House
) -> None:
    for member, kind in [(house.owner, ConflictError), ("0" * 32, NotFoundError)]:
        with pytest.raises(kind), database.session() as session:
            cases.add_member(session, house.case, user_id=house.owner, member_id=member)


def test_questions_are_about_what_is_in_their_case(database: Database, house: House) -> None:
    with database.session() as session:
        other = cases.create_case(session, user_id=house.owner, title="other").id
        slide = slides.add_slide(
            session, user_id=house.owner, case_id=other, name="A", root="r", path="p"
        ).id
        region = regions.add_region(
            session, user_id=house.owner, slide_id=slide, shape="rectangle", points=SQUARE
        ).id
    wrong: list[tuple[dict[str, object], type[RuiChatError]]] = [
        ({"slide_ids": [slide]}, NotFoundError),
        ({"slide_ids": [house.slide, slide]}, NotFoundError),
        ({"region_id": region}, NotFoundError),
        ({"text": " \n"}, InputError),
    ]
    for fields, kind in wrong:
        with pytest.raises(kind), database.session() as session:
            chats.add_question(session, house.chat, user_id=house.owner, **{"text": "?", **fields})


def test_what_is_in_a_case_goes_with_it(database: Database, house: House) -> None:
    from ruichat.storage.database.models import Base

    with database.session() as session:
        cases.delete_case(session, house.case, user_id=house.owner)
    with database.engine.connect() as connection:
        left = {
            name: connection.execute(table.select()).all()
            for name, table in Base.metadata.tables.items()
            if name != "users"
        }
    assert not any(left.values())


def test_a_message_outlives_its_region(database: Database, house: House) -> None:
    with database.session() as session:
        regions.delete_region(session, house.region, user_id=house.owner)
    with database.session() as session:
        question, _ = chats.list_messages(session, house.chat, user_id=house.owner)
        assert question.region_id is None and question.slide_ids == [house.slide]
