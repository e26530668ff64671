"""Chats of the page: asked, watched, stopped, answered anew, left alone; kept whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes_chat import write_two_halves
from fakes_engine import FolderSlides, HeldModel, held_backend, until

from ruichat.errors import ConflictError, InputError, NotFoundError
from ruichat.serve.engine.engine import Engine
from ruichat.serve.engine.requests import EngineFullError
from ruichat.serve.engine.settings import EngineSettings
from ruichat.serve.page import answering
from ruichat.serve.page.asked import asked_of, looked_of
from ruichat.serve.page.conversations import Conversations, answered_before
from ruichat.serve.page.shown import ChatShown, answer_shown, read_chat
from ruichat.storage.database import cases, chats, regions, slides, users
from ruichat.storage.database.connect import Database, open_database
from ruichat.storage.database.models import Message

WORDS = "Yes, carcinoma nests in [R1]."


@dataclass
class Desk:
    """A pathologist's case with one slide, and the page's conversations about it."""

    conversations: Conversations
    database: Database
    engine: Engine
    model: HeldModel
    user_id: str
    other_id: str
    case_id: str
    slide_id: str
    second_id: str

    def ask(self, text: str = "Is there tumour?", **more: Any) -> str:
        sent = {"case_id": self.case_id, "slide_ids": [self.slide_id], "text": text} | more
        return self.conversations.ask(asked_of(sent), user_id=self.user_id)

    def draw(self) -> str:
        """A region on the first slide."""
        with self.database.session() as session:
            return regions.add_region(
                session,
                user_id=self.user_id,
                slide_id=self.slide_id,
                shape="rectangle",
                points=[[10, 10], [400, 10], [400, 300], [10, 300]],
                name="Region 1",
            ).id

    def delete_region(self, region_id: str) -> None:
        with self.database.session() as session:
            regions.delete_region(session, region_id, user_id=self.user_id)

    def watch(self, chat_id: str, seen: Callable[[dict[str, Any]], None] | None = None) -> Any:
        """The last that a tab is told of a chat."""

        async def follow() -> Any:
            last = None
            async for last in self.conversations.watch(chat_id, user_id=self.user_id):
                if seen is not None:
                    seen(last)
            return last

        return asyncio.run(follow())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    write_two_halves(folder / "halves.tif")
    return folder


@pytest.fixture
def desk(tmp_path: Path, folder: Path) -> Iterator[Desk]:
    database = open_database(f"sqlite:///{tmp_path / 'ruichat.db'}")
    database.migrate()
    with database.session() as session:
        user_id = users.create_user(session, name="ada", role="pathologist").id
        other_id = users.create_user(session, name="bo", role="pathologist").id
        case_id = cases.create_case(session, user_id=user_id, title="S1").id
        slide_id, second_id = (
            slides.add_slide(
                session, user_id=user_id, case_id=case_id, name=name, root="g", path="halves.tif"
            ).id
            for name in "ab"
        )
    backend = held_backend(WORDS)
    engine = Engine(
        EngineSettings(max_waiting_per_user=2),
        FolderSlides(folder, {slide_id: "halves.tif", second_id: "halves.tif"}),
        lambda: backend,
    )
    assert isinstance(backend.model, HeldModel)
    conversations = Conversations(database, engine)
    yield Desk(
        conversations,
        database,
        engine,
        backend.model,
        user_id,
        other_id,
        case_id,
        slide_id,
        second_id,
    )
    backend.model.going.set()
    conversations.close()
    engine.close()
    database.close()


def test_an_answer_is_seen_growing_and_then_whole(desk: Desk) -> None:
    desk.model.going.clear()
    states: list[tuple[str, bool]] = []

    def seen(shown: dict[str, Any]) -> None:
        desk.model.going.set()
        states.append((shown["messages"][-1]["state"], shown["running"]))

    last = desk.watch(desk.ask(), seen)
    assert states[0] == ("running", True) and states[-1] == ("complete", False)
    question, answer = last["messages"]
    assert (question["role"], question["text"]) == ("user", "Is there tumour?")
    assert answer["text"] == WORDS
    (citation,) = answer["answer"]["citations"]
    assert (citation["name"], citation["slide_id"]) == ("R1", desk.slide_id)
    assert citation["box0"]["width"] > 0
    assert answer["answer"]["claims"][0]["grounded"]


def test_an_answer_that_comes_while_its_chat_is_read_is_seen(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.model.going.clear()
    chat_id = desk.ask()
    read = Conversations._read

    def slowly(self: Conversations, chat_id: str, user_id: str) -> ChatShown:
        found = read(self, chat_id, user_id)
        desk.model.going.set()
        until(lambda: not self.is_open(chat_id))
        return found

    monkeypatch.setattr(Conversations, "_read", slowly)
    assert desk.watch(chat_id)["messages"][-1]["text"] == WORDS


def test_what_is_told_holds_no_path_and_no_digest(desk: Desk) -> None:
    last = desk.watch(desk.ask())
    said = repr(last)
    assert "halves.tif" not in said and "digest" not in said


def test_stopping_keeps_what_was_written(desk: Desk) -> None:
    desk.model.going.clear()
    chat_id = desk.ask()
    until(lambda: desk.model.begun)
    desk.conversations.stop(chat_id, user_id=desk.user_id)
    last = desk.watch(chat_id)
    assert last["messages"][-1]["state"] == "stopped" and not last["running"]


def test_retrying_replaces_the_last_answer(desk: Desk) -> None:
    chat_id = desk.ask()
    first = desk.watch(chat_id)["messages"][-1]
    again = asked_of({"chat_id": chat_id, "retry": first["id"]})
    desk.conversations.ask(again, user_id=desk.user_id)
    messages = desk.watch(chat_id)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[-1]["id"] != first["id"] and messages[-1]["text"] == WORDS


def test_retrying_an_answer_that_another_has_followed_destroys_nothing(desk: Desk) -> None:
    chat_id = desk.ask()
    first = desk.watch(chat_id)["messages"][-1]
    desk.watch(desk.ask("And where is it?", chat_id=chat_id))
    again = asked_of({"chat_id": chat_id, "retry": first["id"]})
    with pytest.raises(ConflictError):
        desk.conversations.ask(again, user_id=desk.user_id)
    messages = desk.watch(chat_id)["messages"]
    assert len(messages) == 4 and messages[-1]["state"] == "complete"
    assert not desk.conversations.is_open(chat_id)


def test_a_chat_takes_one_question_at_a_time(desk: Desk) -> None:
    desk.model.going.clear()
    chat_id = desk.ask()
    with pytest.raises(ConflictError):
        desk.ask("And where is it?", chat_id=chat_id)
    desk.model.going.set()
    desk.watch(chat_id)
    assert desk.ask("And where is it?", chat_id=chat_id) == chat_id
    assert len(desk.watch(chat_id)["messages"]) == 4


def test_what_the_engine_refuses_is_not_kept(desk: Desk) -> None:
    desk.model.going.clear()
    desk.ask()
    desk.ask()
    with pytest.raises(EngineFullError):
        desk.ask("one too many")
    with desk.database.session() as session:
        assert len(chats.list_chats(session, desk.case_id, user_id=desk.user_id)) == 2


def test_an_empty_question_begins_no_chat(desk: Desk) -> None:
    with pytest.raises(InputError):
        desk.ask("   ")
    with desk.database.session() as session:
        assert not chats.list_chats(session, desk.case_id, user_id=desk.user_id)


def test_others_can_neither_ask_nor_look_nor_stop(desk: Desk) -> None:
    chat_id = desk.ask()
    desk.watch(chat_id)
    theirs = desk.other_id
    sent = {"case_id": desk.case_id, "slide_ids": [desk.slide_id], "text": "Is there tumour?"}
    with pytest.raises(NotFoundError):
        desk.conversations.ask(asked_of(sent), user_id=theirs)
    with pytest.raises(NotFoundError):
        desk.conversations.ask(asked_of(sent | {"chat_id": chat_id}), user_id=theirs)
    with pytest.raises(NotFoundError):
        desk.conversations.stop(chat_id, user_id=theirs)
    with pytest.raises(NotFoundError):
        asyncio.run(anext(desk.conversations.watch(chat_id, user_id=theirs)))


def test_an_answer_that_nobody_looks_at_is_stopped(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "GRACE_S", 0.05)
    desk.model.going.clear()
    chat_id = desk.ask()
    until(
        lambda: desk.engine.status().num_answering == 0 and not desk.conversations.is_open(chat_id)
    )
    assert desk.watch(chat_id)["messages"][-1]["state"] == "stopped"


def test_a_tab_that_comes_back_in_time_finds_it_going_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "GRACE_S", 1.0)
    desk.model.going.clear()
    chat_id = desk.ask()

    async def look_briefly() -> None:
        looking = desk.conversations.watch(chat_id, user_id=desk.user_id)
        await anext(looking)
        await looking.aclose()

    asyncio.run(look_briefly())
    seen: list[bool] = []
    last = desk.watch(
        chat_id, lambda shown: (seen.append(shown["running"]), desk.model.going.set())
    )
    assert seen[0] and last["messages"][-1]["state"] == "complete"


def test_a_failed_answer_says_why_and_can_be_asked_anew(desk: Desk) -> None:
    with desk.database.session() as session:
        broken = slides.add_slide(
            session, user_id=desk.user_id, case_id=desk.case_id, name="b", root="g", path="no.tif"
        ).id
    chat_id = desk.ask(slide_ids=[broken])
    last = desk.watch(chat_id)
    assert last["messages"][-1]["state"] == "failed"
    error = last["messages"][-1]["error"]
    assert error["message"] and 400 <= error["status"] < 600
    desk.watch(desk.ask(chat_id=chat_id))
    assert "error" not in desk.watch(chat_id)["messages"][-1]


def test_an_answer_that_a_bug_keeps_from_being_kept_ends_all_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("S1, Mrs. Smith")

    monkeypatch.setattr(answering.chats, "add_answer", fail)
    chat_id = desk.ask()
    last = desk.watch(chat_id)
    assert not last["running"] and "Smith" not in repr(last)
    (question,) = last["messages"]
    assert question["error"]["message"]
    monkeypatch.undo()
    again = asked_of({"chat_id": chat_id, "retry": question["id"]})
    desk.conversations.ask(again, user_id=desk.user_id)
    kept, answer = desk.watch(chat_id)["messages"]
    assert kept["id"] == question["id"] and answer["state"] == "complete"


def test_a_closing_server_keeps_what_was_written(desk: Desk) -> None:
    desk.model.going.clear()
    chat_id = desk.ask()
    until(lambda: desk.model.begun)
    desk.conversations.close()
    assert desk.watch(chat_id)["messages"][-1]["state"] == "stopped"


def test_an_answer_that_was_cut_off_says_so_when_its_chat_is_opened_again(desk: Desk) -> None:
    desk.model.answer = lambda asked: WORDS + " They are in [R1]." * (60 * ("fat" in asked))
    both = [desk.slide_id, desk.second_id]
    for question, cut in (("Is there tumour?", False), ("Is there fat?", True)):
        for chosen in (both[:1], both):
            chat_id = desk.ask(question, slide_ids=chosen)
            desk.watch(chat_id)
            with desk.database.session() as session:
                kept = read_chat(session, chat_id, user_id=desk.user_id).messages[-1]["answer"]
            assert kept["was_cut"] is cut


def test_an_answer_kept_before_this_was_told_counts_as_whole() -> None:
    kept = Message(role="assistant", text="Yes.", slide_ids=[], answer={"abstained": False})
    assert answer_shown(kept)["was_cut"] is False


def test_leading_tissue_is_said_in_both_languages_unless_the_words_say_it() -> None:
    shares = [
        {"key": "fat", "en": "fat", "zh": "脂肪组织", "fraction": 0.99},
        {"key": "of another version", "en": "x", "zh": "x", "fraction": 0.01},
    ]
    answer = {"alternatives": shares, "citations": [{"name": "R1", "box0": [0, 0, 1, 1]}]}
    kept = Message(role="assistant", text="Fat [R1].", slide_ids=[], answer=answer)
    leading = answer_shown(kept)["leading"]
    assert leading["en"] == "Leading tissue in the cited regions by tile: fat 99%."
    assert "所引区域" in leading["zh"] and "脂肪组织 99%" in leading["zh"]
    kept.answer = answer | {"abstained": True}
    assert answer_shown(kept)["leading"] is None


def test_what_holds_of_several_slides_is_said_once_with_their_letters() -> None:
    told = {"A": ["1 tile left out"], "B": ["faint stain"], "C": ["faint stain", "1 tile left out"]}
    slides = [
        {"letter": letter, "slide": letter, "answer": {"abstained": False, "warnings": warnings}}
        for letter, warnings in told.items()
    ]
    kept = Message(role="assistant", text="", slide_ids=list(told), answer={"slides": slides})
    shown = answer_shown(kept)
    assert shown["warnings"] == ["A, C: 1 tile left out", "B, C: faint stain"]
    assert shown["errors"] == []


def test_several_slides_keep_their_own_regions(desk: Desk) -> None:
    last = desk.watch(desk.ask(slide_ids=[desk.slide_id, desk.second_id]))
    answer = last["messages"][-1]
    placed = [
        (citation["name"], citation["slide_id"]) for citation in answer["answer"]["citations"]
    ]
    assert placed == [("A·R1", desk.slide_id), ("B·R1", desk.second_id)]
    for claim in answer["answer"]["claims"]:
        assert claim["text"] in answer["text"]
    assert answer["answer"]["letters"] == [
        {"letter": "A", "slide_id": desk.slide_id},
        {"letter": "B", "slide_id": desk.second_id},
    ]


def test_a_question_shows_the_region_it_is_about(desk: Desk) -> None:
    region_id = desk.draw()
    question, _ = desk.watch(desk.ask("What is in this region?", region_id=region_id))["messages"]
    assert question["region"] == {"id": region_id, "name": "Region 1"}
    assert not question["region_deleted"]


def test_a_question_about_a_deleted_region_is_never_answered_for_the_whole_slide(
    desk: Desk,
) -> None:
    region_id = desk.draw()
    chat_id = desk.ask("What is in this region?", region_id=region_id)
    desk.watch(chat_id)
    desk.delete_region(region_id)
    question, answer = desk.watch(chat_id)["messages"]
    assert question["region"] is None and question["region_deleted"]
    with pytest.raises(ConflictError):
        desk.conversations.ask(
            asked_of({"chat_id": chat_id, "retry": answer["id"]}), user_id=desk.user_id
        )
    assert desk.watch(chat_id)["messages"] == [question, answer]
    with desk.database.session() as session:
        earlier = chats.list_messages(session, chat_id, user_id=desk.user_id)
        about_slide = chats.add_question(
            session,
            chat_id,
            user_id=desk.user_id,
            text="And where is it?",
            slide_ids=[desk.slide_id],
        )
        assert answered_before(earlier, about_slide) == ()


def test_an_answer_whose_region_is_deleted_while_it_is_written_is_kept(desk: Desk) -> None:
    desk.model.going.clear()
    region_id = desk.draw()
    chat_id = desk.ask("What is in this region?", region_id=region_id)
    until(lambda: desk.model.begun)
    desk.delete_region(region_id)
    desk.model.going.set()
    question, answer = desk.watch(chat_id)["messages"]
    assert answer["state"] == "complete" and question["region_deleted"]


@pytest.mark.parametrize(
    "sent",
    [
        None,
        [],
        {"text": "Is there tumour?"},
        {"case_id": "../../etc", "slide_ids": ["a" * 32], "text": "x"},
        {"case_id": "a" * 32, "slide_ids": ["a" * 32], "text": "x" * 1001},
        {"case_id": "a" * 32, "slide_ids": ["a" * 32], "text": "x", "path": "/etc/passwd"},
        {"retry": "a" * 32},
    ],
)
def test_what_no_page_sends_is_refused(sent: Any) -> None:
    with pytest.raises(InputError):
        asked_of(sent)


def test_looking_needs_a_chat_or_none() -> None:
    assert looked_of({"chat_id": None}).chat_id is None
    with pytest.raises(InputError):
        looked_of({"chat_id": "1 OR 1=1"})
