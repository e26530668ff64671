"""Cases, slides, chats, findings and jobs: what is kept, in which order, and who comes first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy.orm import Session

from ruichat.errors import ConflictError, InputError, NotFoundError
from ruichat.storage.database import cases, chats, findings, jobs, regions, slides, users
from ruichat.storage.database.connect import Database
from ruichat.storage.database.findings import NewFinding

BOX = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}


@dataclass(frozen=True)
class Desk:
    """A user with a case of one slide and one chat."""

    user: str
    case: str
    slide: str
    chat: str


@pytest.fixture
def desk(database: Database) -> Desk:
    with database.session() as session:
        user = users.create_user(session, name="a", role="pathologist").id
        case = cases.create_case(session, user_id=user, title="S26-1").id
        slide = slides.add_slide(
            session, user_id=user, case_id=case, name="A1", root="uploads", path="a.svs"
        ).id
        chat = chats.create_chat(session, user_id=user, case_id=case, language="zh").id
    return Desk(user, case, slide, chat)


def all_at_once(num: int, work: Callable[[int], object]) -> list[BaseException]:
    """Run in threads that start together; returns what they raised."""
    barrier, raised = threading.Barrier(num), []

    def run(index: int) -> None:
        barrier.wait()
        try:
            work(index)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_a_case_is_changed_field_by_field(database: Database, desk: Desk) -> None:
    with database.session() as session:
        cases.update_case(session, desk.case, user_id=desk.user, organ="stomach", context="溃疡")
        cases.update_case(session, desk.case, user_id=desk.user, title=" S26-2 ")
    with database.session() as session:
        case = cases.get_case(session, desk.case, user_id=desk.user)
        assert (case.title, case.organ, case.context) == ("S26-2", "stomach", "溃疡")
        cases.update_case(session, desk.case, user_id=desk.user, organ="")
    with database.session() as session:
        assert cases.get_case(session, desk.case, user_id=desk.user).organ is None
    with pytest.raises(InputError, match="title"), database.session() as session:
        cases.update_case(session, desk.case, user_id=desk.user, title=" ")


def test_the_case_that_was_worked_on_last_comes_first(database: Database, desk: Desk) -> None:
    with database.session() as session:
        newer = cases.create_case(session, user_id=desk.user, title="newer").id
    order = []
    for work in (
        lambda s: None,
        lambda s: chats.add_question(s, desk.chat, user_id=desk.user, text="?"),
        lambda s: cases.update_case(s, newer, user_id=desk.user, context="a"),
    ):
        with database.session() as session:
            work(session)
        with database.session() as session:
            order.append([case.id for case in cases.list_cases(session, user_id=desk.user)])
    assert order == [[newer, desk.case], [desk.case, newer], [newer, desk.case]]


def test_slides_keep_their_order_and_can_be_moved(database: Database, desk: Desk) -> None:
    with database.session() as session:
        for name in ("B", "C"):
            slides.add_slide(
                session, user_id=desk.user, case_id=desk.case, name=name, root="r", path=name
            )
    with database.session() as session:
        listed = slides.list_slides(session, desk.case, user_id=desk.user)
        assert [slide.name for slide in listed] == ["A1", "B", "C"]
        slides.update_slide(session, listed[2].id, user_id=desk.user, position=0)
        with pytest.raises(InputError, match="0 to 2"):
            slides.update_slide(session, listed[2].id, user_id=desk.user, position=3)
    with database.session() as session:
        listed = slides.list_slides(session, desk.case, user_id=desk.user)
        assert [slide.name for slide in listed] == ["C", "A1", "B"]
        assert [slide.position for slide in listed] == [0, 1, 2]


def test_what_the_server_learns_of_a_slide_is_kept(database: Database, desk: Desk) -> None:
    with database.session() as session:
        slides.record_slide(
            session,
            desk.slide,
            state="ready",
            width0=90_000,
            height0=70_000,
            mpp=0.25,
            mpp_source="file",
            digest="a" * 64,
            warnings=["blurred"],
        )
    with database.session() as session:
        slide = slides.any_slide(session, desk.slide)
        assert (slide.state, slide.width0, slide.mpp) == ("ready", 90_000, 0.25)
        assert slide.warnings == ["blurred"]
        assert slides.list_files(session) == [(desk.slide, "uploads", "a.svs")]
        with pytest.raises(TypeError, match="case_id"):
            slides.record_slide(session, desk.slide, case_id="0" * 32)
    with pytest.raises(NotFoundError), database.session() as session:
        slides.record_slide(session, "0" * 32, state="failed")


@pytest.mark.parametrize("mpp", [0.0, -1.0, float("inf"), float("nan")])
def test_what_is_no_resolution_is_refused(database: Database, desk: Desk, mpp: float) -> None:
    with pytest.raises(InputError, match="micrometres"), database.session() as session:
        slides.update_slide(session, desk.slide, user_id=desk.user, given_mpp=mpp)


def test_a_chat_keeps_what_was_said_as_it_was_said(database: Database, desk: Desk) -> None:
    answer = {"claims": [{"text": "管腔不规则", "regions": ["R7"]}], "abstained": False}
    with database.session() as session:
        chats.add_question(session, desk.chat, user_id=desk.user, text="有肿瘤吗？")
        chats.add_answer(
            session, desk.chat, user_id=desk.user, text="有 [R7]", thought="…", answer=answer
        )
        chats.update_chat(session, desk.chat, user_id=desk.user, language="en")
        chats.add_question(session, desk.chat, user_id=desk.user, text="Where?")
        chats.add_answer(session, desk.chat, user_id=desk.user, text="In t", state="stopped")
    with database.session() as session:
        turns = chats.list_messages(session, desk.chat, user_id=desk.user)
        assert [(turn.position, turn.role, turn.text, turn.state) for turn in turns] == [
            (0, "user", "有肿瘤吗？", "complete"),
            (1, "assistant", "有 [R7]", "complete"),
            (2, "user", "Where?", "complete"),
            (3, "assistant", "In t", "stopped"),
        ]
        assert turns[1].answer == answer and turns[0].answer is None


def test_messages_written_at_once_each_get_a_place(database: Database, desk: Desk) -> None:
    def write(index: int) -> None:
        for turn in range(5):
            with database.session() as session:
                text = f"{index}.{turn}"
                chats.add_question(session, desk.chat, user_id=desk.user, text=text)

    assert all_at_once(4, write) == []
    with database.session() as session:
        turns = chats.list_messages(session, desk.chat, user_id=desk.user)
    assert [turn.position for turn in turns] == list(range(20))
    for index in range(4):
        own = [turn.text for turn in turns if turn.text.startswith(f"{index}.")]
        assert own == [f"{index}.{turn}" for turn in range(5)]


def test_an_answer_is_taken_back_for_another(database: Database, desk: Desk) -> None:
    with pytest.raises(ConflictError), database.session() as session:
        chats.take_back_answer(session, desk.chat, user_id=desk.user)
    with database.session() as session:
        asked = chats.add_question(session, desk.chat, user_id=desk.user, text="?").id
        chats.add_answer(session, desk.chat, user_id=desk.user, text="first")
    for text in ("second", "third"):
        with database.session() as session:
            question = chats.take_back_answer(session, desk.chat, user_id=desk.user)
            assert question.id == asked
            chats.add_answer(session, desk.chat, user_id=desk.user, text=text)
    with database.session() as session:
        assert chats.take_back_answer(session, desk.chat, user_id=desk.user).id == asked
        assert chats.take_back_answer(session, desk.chat, user_id=desk.user).id == asked
        chats.add_answer(session, desk.chat, user_id=desk.user, text="last")
        turns = chats.list_messages(session, desk.chat, user_id=desk.user)
        assert [(turn.position, turn.text) for turn in turns] == [(0, "?"), (1, "last")]


def test_only_the_answer_that_a_chat_ends_with_is_taken_back(
    database: Database, desk: Desk
) -> None:
    answers: list[str] = []
    with database.session() as session:
        for text in ("first", "second"):
            chats.add_question(session, desk.chat, user_id=desk.user, text=f"{text}?")
            answers.append(chats.add_answer(session, desk.chat, user_id=desk.user, text=text).id)
    for meant in (answers[0], "0" * 32):
        with pytest.raises(ConflictError, match="gone on"), database.session() as session:
            chats.take_back_answer(session, desk.chat, user_id=desk.user, message_id=meant)
    with database.session() as session:
        turns = chats.list_messages(session, desk.chat, user_id=desk.user)
        assert [turn.text for turn in turns] == ["first?", "first", "second?", "second"]
        chats.take_back_answer(session, desk.chat, user_id=desk.user, message_id=answers[1])
    with pytest.raises(ConflictError, match="gone on"), database.session() as session:
        chats.take_back_answer(session, desk.chat, user_id=desk.user, message_id=answers[1])


def test_feedback_is_on_answers_and_can_be_taken_back(database: Database, desk: Desk) -> None:
    with database.session() as session:
        asked = chats.add_question(session, desk.chat, user_id=desk.user, text="?").id
        said = chats.add_answer(session, desk.chat, user_id=desk.user, text="!").id
    for feedback, reason in [(-1, "wrong organ"), (1, ""), (0, "")]:
        with database.session() as session:
            chats.set_feedback(
                session, desk.chat, said, user_id=desk.user, feedback=feedback, reason=reason
            )
        with database.session() as session:
            found = chats.get_message(session, desk.chat, said, user_id=desk.user)
            assert (found.feedback, found.feedback_reason) == (feedback, reason)
    with pytest.raises(NotFoundError), database.session() as session:
        chats.set_feedback(session, desk.chat, asked, user_id=desk.user, feedback=1)
    with pytest.raises(InputError), database.session() as session:
        chats.set_feedback(session, desk.chat, said, user_id=desk.user, feedback=2)


def add_one(database: Database, desk: Desk) -> str:
    with database.session() as session:
        return findings.add_findings(
            session,
            [NewFinding(BOX, name="gland", classification="Tumor", confidence=0.5)],
            user_id=desk.user,
            slide_id=desk.slide,
            origin="model",
            made_by="mini",
        )[0].id


def test_a_person_decides_on_a_finding_and_takes_it_back(database: Database, desk: Desk) -> None:
    finding_id = add_one(database, desk)
    with database.session() as session:
        (found,) = findings.list_findings(session, user_id=desk.user, slide_id=desk.slide)
        assert (found.status, found.decided_by, found.revision) == ("proposed", None, 1)
        assert (found.origin, found.made_by, found.color) == ("model", "mini", "#c80000")
        findings.decide_finding(
            session, finding_id, user_id=desk.user, revision=1, status="accepted", note="sure"
        )
    with database.session() as session:
        found = findings.get_finding(session, finding_id, user_id=desk.user)
        assert (found.status, found.decided_by, found.note) == ("accepted", desk.user, "sure")
        assert found.decided_at is not None and found.revision == 2
        findings.undo_decision(session, finding_id, user_id=desk.user, revision=2)
    with database.session() as session:
        found = findings.get_finding(session, finding_id, user_id=desk.user)
        assert (found.status, found.decided_by, found.decided_at) == ("proposed", None, None)
        accepted = findings.list_findings(
            session, user_id=desk.user, case_id=desk.case, status="accepted"
        )
        assert found.revision == 3 and list(accepted) == []
        with pytest.raises(ConflictError, match="decided"):
            findings.undo_decision(session, finding_id, user_id=desk.user, revision=3)


def test_a_finding_that_is_changed_has_to_be_decided_on_anew(
    database: Database, desk: Desk
) -> None:
    finding_id = add_one(database, desk)
    with database.session() as session:
        findings.decide_finding(
            session, finding_id, user_id=desk.user, revision=1, status="rejected"
        )
        findings.edit_finding(session, finding_id, user_id=desk.user, revision=2, note="why")
        assert findings.get_finding(session, finding_id, user_id=desk.user).status == "rejected"
        findings.edit_finding(
            session, finding_id, user_id=desk.user, revision=3, classification="Stroma"
        )
    with database.session() as session:
        found = findings.get_finding(session, finding_id, user_id=desk.user)
        assert (found.status, found.decided_by, found.revision) == ("proposed", None, 4)
    with pytest.raises(ConflictError, match="revision 4"), database.session() as session:
        findings.delete_finding(session, finding_id, user_id=desk.user, revision=3)
    with database.session() as session:
        findings.delete_finding(session, finding_id, user_id=desk.user, revision=4)
    with database.session() as session:
        assert list(findings.list_findings(session, user_id=desk.user, case_id=desk.case)) == []


def test_of_two_who_decide_at_once_one_is_told(database: Database, desk: Desk) -> None:
    finding_id, both_have_read = add_one(database, desk), threading.Barrier(2)

    def decide(index: int) -> None:
        with database.session() as session:
            findings.get_finding(session, finding_id, user_id=desk.user)
            both_have_read.wait()
            findings.decide_finding(
                session,
                finding_id,
                user_id=desk.user,
                revision=1,
                status=("accepted", "rejected")[index],
            )

    (told,) = all_at_once(2, decide)
    assert isinstance(told, ConflictError)
    with database.session() as session:
        assert findings.get_finding(session, finding_id, user_id=desk.user).revision == 2


def test_one_finding_that_is_wrong_keeps_all_out(database: Database, desk: Desk) -> None:
    good = NewFinding(BOX)
    for wrong in (
        NewFinding({"type": "Circle"}),
        NewFinding(BOX, color="red"),
        NewFinding(BOX, confidence=1.5),
        NewFinding(BOX, confidence=float("nan")),
        NewFinding(BOX, name="x" * 201),
    ):
        with pytest.raises(InputError), database.session() as session:
            findings.add_findings(
                session, [good, wrong], user_id=desk.user, slide_id=desk.slide, origin="import"
            )
    with pytest.raises(InputError, match="10001"), database.session() as session:
        findings.add_findings(
            session, [good] * 10_001, user_id=desk.user, slide_id=desk.slide, origin="import"
        )
    with database.session() as session:
        assert list(findings.list_findings(session, user_id=desk.user, case_id=desk.case)) == []


Change = Callable[[Session, Desk, str], object]

AT_ONCE: dict[str, Change] = {
    "context": lambda session, desk, word: cases.update_case(
        session, desk.case, user_id=desk.user, context=word, seen={"context": ""}
    ),
    "organ": lambda session, desk, word: cases.update_case(
        session, desk.case, user_id=desk.user, organ=word, seen={"organ": None}
    ),
    "stain": lambda session, desk, word: slides.update_slide(
        session, desk.slide, user_id=desk.user, stain=word, seen={"stain": ""}
    ),
    "mpp": lambda session, desk, word: slides.update_slide(
        session, desk.slide, user_id=desk.user, given_mpp=float(len(word))
    ),
}


@pytest.mark.parametrize("field", AT_ONCE)
def test_of_two_who_fill_in_a_field_at_once_one_is_told(
    database: Database, desk: Desk, field: str
) -> None:
    both_have_read = threading.Barrier(2)

    def fill_in(index: int) -> None:
        with database.session() as session:
            cases.get_case(session, desk.case, user_id=desk.user)
            slides.get_slide(session, desk.slide, user_id=desk.user)
            both_have_read.wait()
            AT_ONCE[field](session, desk, ("one", "other")[index])

    (told,) = all_at_once(2, fill_in)
    assert isinstance(told, ConflictError)


def test_only_what_was_seen_otherwise_stands_in_the_way(database: Database, desk: Desk) -> None:
    def change(**more: Any) -> None:
        with database.session() as session:
            cases.update_case(session, desk.case, user_id=desk.user, **more)

    change(context="Female, 50", seen={"title": "S26-1", "organ": "", "context": ""})
    change(title="S26-2", seen={"title": "S26-1"})
    change(context="Female, 51")
    with pytest.raises(ConflictError, match="context"):
        change(title="S26-3", context="Male", seen={"title": "S26-2", "context": "Female, 50"})
    with database.session() as session:
        found = cases.get_case(session, desk.case, user_id=desk.user)
        assert (found.title, found.organ, found.context) == ("S26-2", None, "Female, 51")


def test_a_region_lies_on_its_slide(database: Database, desk: Desk) -> None:
    with database.session() as session:
        slides.record_slide(session, desk.slide, width0=1000, height0=500)
    with database.session() as session:
        for points in ([[-5, -5], [10, 10]], [[990, 400], [1200, 600]]):
            regions.add_region(
                session, user_id=desk.user, slide_id=desk.slide, shape="rectangle", points=points
            )
        listed = regions.list_regions(session, desk.slide, user_id=desk.user)
        assert listed[0].points == [[-5, -5], [10, -5], [10, 10], [-5, 10]]
    for points in ([[-5, -5], [0, 10]], [[1000, 0], [1200, 10]], [[0, 500], [10, 600]]):
        with pytest.raises(InputError, match="beside"), database.session() as session:
            regions.add_region(
                session, user_id=desk.user, slide_id=desk.slide, shape="rectangle", points=points
            )


def test_a_slide_is_read_by_one_job_whoever_asks(database: Database, desk: Desk) -> None:
    found: list[str] = []

    def ask(index: int) -> None:
        with database.session() as session:
            job = jobs.queue_job(session, user_id=desk.user, slide_id=desk.slide, kind="read")
        found.append(job.id)

    assert all_at_once(4, ask) == []
    assert len(set(found)) == 1
    with database.session() as session:
        assert jobs.advance_job(session, found[0], stage="tiles", done=3, total=9)
        other = jobs.queue_job(session, user_id=desk.user, slide_id=desk.slide, kind="other")
        assert other.id != found[0]
        assert jobs.finish_job(session, found[0])
        again = jobs.queue_job(session, user_id=desk.user, slide_id=desk.slide, kind="read")
        assert again.id != found[0]
    with database.session() as session:
        listed = jobs.list_jobs(session, desk.slide, user_id=desk.user)
        states = {job.id: (job.state, job.stage, job.done, job.total) for job in listed}
        assert states[found[0]] == ("done", "tiles", 3, 9)
        assert states[again.id] == ("queued", "", 0, 0)
        unfinished = jobs.list_unfinished(session, desk.case, user_id=desk.user)
        assert {job.id for job in unfinished} == {other.id, again.id}


def test_a_job_that_was_cancelled_is_told_so_and_stays_so(database: Database, desk: Desk) -> None:
    with database.session() as session:
        job = jobs.queue_job(session, user_id=desk.user, slide_id=desk.slide, kind="read")
        assert jobs.cancel_job(session, job.id, user_id=desk.user)
        assert not jobs.advance_job(session, job.id, stage="tiles")
        assert not jobs.finish_job(session, job.id, error="late")
        assert not jobs.cancel_job(session, job.id, user_id=desk.user)
    with database.session() as session:
        found = jobs.get_job(session, job.id, user_id=desk.user)
        assert (found.state, found.error) == ("cancelled", None)


def test_a_job_is_one_processes_for_as_long_as_it_says_so(database: Database, desk: Desk) -> None:
    with database.session() as session:
        job = jobs.queue_job(session, user_id=desk.user, slide_id=desk.slide, kind="read").id
        failed = jobs.queue_job(session, user_id=desk.user, slide_id=desk.slide, kind="other").id
        jobs.finish_job(session, failed, error="broken")
    with database.session() as session:
        assert [jobs.claim_job(session, job, silent_s=60) for _ in range(2)] == [True, False]
        assert not jobs.claim_job(session, failed, silent_s=-60)
    with database.session() as session:
        jobs.advance_job(session, job, stage="tiles", done=3, total=9)
        assert list(jobs.claim_left_jobs(session, kind="read", silent_s=60)) == []
        jobs.release_jobs(session, [job, failed])
        jobs.keep_jobs(session, [job, failed])
        assert list(jobs.claim_left_jobs(session, kind="read", silent_s=60)) == []
        jobs.release_jobs(session, [job, failed])
    with database.session() as session:
        assert jobs.get_job(session, job, user_id=desk.user).state == "queued"
        assert [j.id for j in jobs.claim_left_jobs(session, kind="read", silent_s=60)] == [job]
        assert list(jobs.claim_left_jobs(session, kind="other", silent_s=-60)) == []
    with database.session() as session:
        found = jobs.get_job(session, job, user_id=desk.user)
        assert (found.state, found.stage, found.done) == ("running", "", 0)
        assert jobs.get_job(session, failed, user_id=desk.user).state == "failed"
        # Nothing was heard of it for long enough.
        assert [j.id for j in jobs.claim_left_jobs(session, kind="read", silent_s=-60)] == [job]


def test_of_processes_that_claim_at_once_one_gets_the_job(database: Database, desk: Desk) -> None:
    with database.session() as session:
        job = jobs.queue_job(session, user_id=desk.user, slide_id=desk.slide, kind="read").id

    def claim(_: int) -> bool:
        with database.session() as session:
            return jobs.claim_job(session, job, silent_s=60)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(claim, range(8))) == 1
