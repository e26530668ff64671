"""The chat beside the slide, with real clicks and keys."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from browsed import Server, slowed
from driving import (
    IDLE,
    TUMOUR,
    VIEW,
    ask,
    begin_chat,
    drag,
    open_page,
    over_slide,
    reload,
    remembered,
    send,
    settle,
    until_answered,
)

from ruichat.serve.page.answering import GRACE_S
from ruichat.storage.database import cases, chats, users
from ruichat.storage.database.connect import open_database

pytestmark = pytest.mark.slow

WORDS = ".rc-answer .rc-words"


def test_an_answer_streams_and_a_citation_flies_there(
    page: Any, server: Server, picture: Any
) -> None:
    open_page(page, server.place())
    begin_chat(page)
    page.evaluate(
        """() => {
            window.seen = new Set();
            new MutationObserver(() => {
                const words = document.querySelector('.rc-answer .rc-words');
                if (words) window.seen.add(words.innerText.length);
            }).observe(document.querySelector('.rc-side'),
                {subtree: true, childList: true, characterData: true});
        }"""
    )
    answer = ask(page, TUMOUR)
    assert page.evaluate("window.seen.size") >= 2, "it came all at once"
    assert "AI-generated" in answer.inner_text()
    chip = answer.locator(".rc-chip").first
    name = chip.inner_text()
    chip.click()
    settle(page)
    lands_on(page, name)
    page.wait_for_load_state("networkidle")
    picture(page, "answer")


def lands_on(page: Any, name: str) -> None:
    """The window holds the cited box, not much more, and it is marked."""
    cited = page.evaluate(
        f"""ruichat.page.chat.messages.messages.findLast((one) => one.answer)
            .answer.citations.find((one) => one.name === "{name}").box0"""
    )
    window = page.evaluate(f"{VIEW}.bounds0")
    for start, length in (("x", "width"), ("y", "height")):
        assert window[start] <= cited[start] + 1
        assert window[start] + window[length] >= cited[start] + cited[length] - 1
    assert window["width"] < 4 * max(cited["width"], cited["height"])
    assert page.locator(".rc-layer-citations .rc-chosen").count() == 1


def test_a_drawn_region_is_asked_about(page: Any, server: Server, picture: Any) -> None:
    open_page(page, server.place())
    begin_chat(page)
    settle(page)
    over_slide(page)
    page.keyboard.press("r")
    drag(page, (0.3, 0.35), (0.55, 0.6))
    page.wait_for_selector(".rc-target .rc-tag")
    assert re.search(r"Region \d+ · [\d.]+ mm²", page.locator(".rc-target .rc-tag").inner_text())
    answer = ask(page, "What is in this region?")
    picture(page, "region")
    assert "Region" in page.locator(".rc-question .rc-tag").last.inner_text()
    assert len(answer.inner_text()) > 20


def test_a_question_and_its_stop_are_shown_at_once(page: Any, server: Server) -> None:
    """Before the server has said anything: a busy one may take its time."""
    open_page(page, server.place())
    begin_chat(page)
    page.get_by_label("Question").fill(TUMOUR)
    shown = page.evaluate(
        """() => {
            document.querySelector('.rc-composer .rc-primary').click();
            return [document.querySelector('.rc-question').innerText,
                document.querySelector('.rc-stop').hidden];
        }"""
    )
    assert TUMOUR in shown[0]
    assert shown[1] is False
    until_answered(page, 1)


@pytest.mark.parametrize("way", ["click", "key"])
def test_an_answer_is_stopped(page: Any, several: Server, way: str) -> None:
    """About several slides, one after the other, slowly: long enough to stop it midway."""
    open_page(page, several.place())
    begin_chat(page)
    page.locator(".rc-target .rc-tag").click()
    with slowed(several):
        send(page, "Describe this slide.")
        page.wait_for_function(f"document.querySelector('{WORDS}')?.innerText.length > 20")
        if way == "click":
            page.get_by_label("Stop (Esc)").click()
        else:
            page.keyboard.press("Escape")
        page.wait_for_function(IDLE)
    assert "Stopped" in page.locator(".rc-answer").inner_text()
    assert page.get_by_label("Send (Enter)").is_visible()
    chat = page.evaluate("ruichat.page.chat.chatId")
    kept = httpx.get(f"{several.address}/api/v1/chats/{chat}/messages").json()["items"]
    assert [message["state"] for message in kept] == ["complete", "stopped"]
    assert kept[1]["text"] == page.evaluate("ruichat.page.chat.kept.messages.at(-1).text")
    assert "Slide D" not in kept[1]["text"], "it went on to the last slide"
    again = ask(page, TUMOUR)
    assert "Stopped" not in again.inner_text()


def test_the_language_switches_in_the_middle_of_a_chat(
    page: Any, server: Server, picture: Any
) -> None:
    open_page(page, server.place())
    begin_chat(page)
    answer = ask(page, TUMOUR)
    words = answer.locator(".rc-words").inner_text()
    page.get_by_label("Question").fill("half a quest")
    page.get_by_label("Switch to Chinese").click()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert "AI生成内容" in answer.inner_text()
    assert answer.locator(".rc-words").inner_text() == words
    assert page.get_by_label("问题").input_value() == "half a quest"
    send(page, "切片上有肿瘤吗？在哪里？")
    until_answered(page, 2)
    assert re.search(r"[\u4e00-\u9fff]", page.locator(WORDS).last.inner_text())
    picture(page, "page-zh")
    reload(page)
    page.wait_for_selector(".rc-answer")
    page.get_by_label("切换为英文").click()
    page.wait_for_function("document.documentElement.lang === 'en'")
    page.wait_for_load_state("networkidle")


def test_a_reload_finds_everything_again(page: Any, server: Server) -> None:
    open_page(page, server.place())
    begin_chat(page)
    answer = ask(page, TUMOUR)
    words = answer.locator(".rc-words").inner_text()
    answer.get_by_label("Poor answer").click()
    page.get_by_text("wrong place").click()
    page.wait_for_selector(".rc-reason button[aria-pressed=true]")
    answer.locator(".rc-chip").first.click()
    remembered(page)
    page.get_by_label("Question").fill("half a quest")
    before = page.evaluate(f"{VIEW}.bounds0")
    reload(page)
    page.wait_for_selector(".rc-answer")
    settle(page)
    after = page.evaluate(f"{VIEW}.bounds0")
    for key in ("x", "y", "width", "height"):
        assert abs(after[key] - before[key]) < 0.02 * before["width"]
    assert page.locator(WORDS).inner_text() == words
    assert page.locator(".rc-reason button[aria-pressed=true]").inner_text() == "wrong place"
    assert page.get_by_label("Question").input_value() == "half a quest"


def test_an_answer_is_given_anew(page: Any, server: Server) -> None:
    open_page(page, server.place())
    begin_chat(page)
    first = ask(page, TUMOUR).get_attribute("data-message")
    page.get_by_label("Try again").click()
    page.wait_for_function(
        f"document.querySelector('.rc-answer').dataset.message !== '{first}' && {IDLE}"
    )
    assert page.locator(".rc-answer").count() == 1
    assert page.locator(".rc-question").count() == 1


def test_whoever_goes_on_typing_after_a_click_writes(page: Any, server: Server) -> None:
    open_page(page, server.place())
    begin_chat(page)
    page.locator(".rc-suggestion").first.click()
    page.keyboard.type("rap")
    until_answered(page, 1)
    field = page.locator(".rc-write textarea")
    assert field.input_value() == "rap"
    like = page.get_by_label("Good answer")
    like.click()
    page.wait_for_selector("[aria-label='Good answer'][aria-pressed=true]")
    assert like.evaluate("button => button === document.activeElement")
    field.fill("")


def test_a_thought_comes_first_and_is_folded_away(page: Any, server: Server) -> None:
    open_page(page, server.place())
    begin_chat(page)
    page.locator(".rc-think input").check()
    answer = ask(page, TUMOUR)
    thought = answer.locator(".rc-thought")
    words = thought.locator("p")
    assert not words.is_visible() and answer.locator(".rc-words").inner_text()
    thought.locator("summary").click()
    assert re.search(r"R\d", words.inner_text())
    reload(page)
    page.wait_for_selector(".rc-thought summary")
    assert not page.locator(".rc-thought p").is_visible()


def test_what_an_answer_rests_on_is_seen(page: Any, server: Server) -> None:
    """A kept answer with a thought, a claim without a source, cut off; and one left open."""
    chat_id = keep_answers(server)
    open_page(page, server.place(chat=chat_id))
    first, second = (page.locator(".rc-answer").nth(number) for number in (0, 1))
    thought = first.locator(".rc-thought p")
    assert not thought.is_visible()
    first.locator(".rc-thought summary").click()
    assert thought.inner_text() == "Glands first, then stroma."
    page.keyboard.press("Enter")
    assert not thought.is_visible()
    assert "no source cited" in first.locator(".rc-ungrounded").inner_text()
    assert "It is old." in first.locator(".rc-ungrounded").inner_text()
    assert "R1" not in first.locator(".rc-ungrounded").inner_text()
    assert second.locator(".rc-badge").inner_text() == "Cannot determine"
    assert "the end of the answer is missing" in first.locator(".rc-cut").inner_text()
    assert second.locator(".rc-cut").count() == 0
    assert page.get_by_text("AI-generated, not a diagnosis").count() == 2


def keep_answers(server: Server) -> str:
    """Two answers, kept as the server keeps them; the id of their chat."""
    claims = [
        {"text": "There are glands [R1].", "citations": ["R1"], "grounded": True},
        {"text": "It is old.", "citations": [], "grounded": False},
    ]
    box = {"x": 0, "y": 0, "width": 224, "height": 224}
    cited = [{"name": "R1", "box0": box, "shows": "carcinoma_glands"}]
    told = {"claims": claims, "citations": cited, "abstained": False, "confidence": 0.8}
    told |= {"was_cut": True}
    left = {"claims": [], "citations": [], "abstained": True, "confidence": None}
    answers = [
        ("There are glands [R1]. It is old.", "Glands first, then stroma.", told),
        ("Cannot determine: H&E doesn't show it.", "", left),
    ]
    database = open_database(f"sqlite:///{server.data / 'ruichat.db'}")
    me = httpx.get(f"{server.address}/api/v1/me").json()["id"]
    with database.session() as session:
        chat = chats.create_chat(
            session, user_id=me, case_id=server.case_id, language="en", title="kept"
        )
        of = {"user_id": me, "slide_ids": [server.slide_id]}
        for text, thought, answer in answers:
            chats.add_question(session, chat.id, text="What is it?", **of)
            chats.add_answer(
                session, chat.id, text=text, thought=thought, state="complete", answer=answer, **of
            )
        chat_id = chat.id
    database.close()
    return chat_id


def test_trying_again_in_an_old_tab_destroys_nothing(page: Any, server: Server) -> None:
    """Another tab has asked on in the same chat since."""
    open_page(page, server.place())
    begin_chat(page)
    ask(page, TUMOUR)
    chat_id = page.evaluate("ruichat.page.chat.chatId")
    me = httpx.get(f"{server.address}/api/v1/me").json()["id"]
    database = open_database(f"sqlite:///{server.data / 'ruichat.db'}")
    with database.session() as session:
        chats.add_question(
            session, chat_id, user_id=me, text="And fat?", slide_ids=[server.slide_id]
        )
        chats.add_answer(session, chat_id, user_id=me, text="A little.")
    database.close()
    page.get_by_label("Try again").click()
    page.get_by_text("the chat has gone on since").wait_for()
    page.wait_for_function("document.querySelectorAll('.rc-answer').length === 2")
    assert page.locator(WORDS).last.inner_text() == "A little."
    kept = httpx.get(f"{server.address}/api/v1/chats/{chat_id}/messages").json()["items"]
    assert [one["text"] for one in kept if one["role"] == "user"] == [TUMOUR, "And fat?"]


def test_trying_again_thinks_first_where_that_is_ticked(page: Any, server: Server) -> None:
    open_page(page, server.place())
    begin_chat(page)
    ask(page, TUMOUR)
    assert page.locator(".rc-thought").count() == 0
    page.locator(".rc-think input").check()
    page.get_by_label("Try again").click()
    page.wait_for_function(f"document.querySelector('.rc-answer .rc-thought') !== null && {IDLE}")


def test_a_colleagues_chat_is_read_and_ones_own_written(page: Any, server: Server) -> None:
    chat_id = keep_colleagues_chat(server)
    open_page(page, server.place())
    assert page.evaluate("ruichat.page.chat.chatId") != chat_id
    assert page.locator(".rc-write textarea").is_visible()
    page.locator(".rc-side select").select_option(label="theirs (a colleague's)")
    page.wait_for_selector(".rc-answer .rc-actions")
    assert page.locator(".rc-write textarea").is_hidden()
    for name in ("Try again", "Good answer", "Poor answer"):
        assert page.get_by_label(name).count() == 0, name
    page.locator(".rc-others button").click()
    page.wait_for_selector(".rc-welcome")
    assert "carcinoma" not in page.locator(".rc-messages").inner_text()
    ask(page, TUMOUR)
    assert page.locator(".rc-others").is_hidden()


def keep_colleagues_chat(server: Server) -> str:
    """The newest chat of the case, of somebody with whom it is shared."""
    me = httpx.get(f"{server.address}/api/v1/me").json()["id"]
    database = open_database(f"sqlite:///{server.data / 'ruichat.db'}")
    with database.session() as session:
        wang = users.create_user(session, name="wang", role="pathologist").id
        cases.add_member(session, server.case_id, user_id=me, member_id=wang)
        chat = chats.create_chat(
            session, user_id=wang, case_id=server.case_id, language="en", title="theirs"
        )
        of = {"user_id": wang, "slide_ids": [server.slide_id]}
        chats.add_question(session, chat.id, text="What is it?", **of)
        chats.add_answer(session, chat.id, text="A carcinoma.", **of)
        chat_id = chat.id
    database.close()
    return chat_id


def test_an_answer_that_failed_once_says_so_later(page: Any, server: Server) -> None:
    """The server remembers the reason only of a chat's last question, until it is started anew."""
    me = httpx.get(f"{server.address}/api/v1/me").json()["id"]
    database = open_database(f"sqlite:///{server.data / 'ruichat.db'}")
    of = {"user_id": me, "slide_ids": [server.slide_id]}
    with database.session() as session:
        chat_id = chats.create_chat(
            session, user_id=me, case_id=server.case_id, language="en", title="failed"
        ).id
        chats.add_question(session, chat_id, text="What is it?", **of)
        chats.add_answer(session, chat_id, text="", state="failed", **of)
    database.close()
    open_page(page, server.place(chat=chat_id))
    page.wait_for_selector(".rc-answer")
    assert "No answer came" in page.locator(".rc-answer .rc-note").inner_text()


def test_keys_scroll_the_conversation_while_it_has_the_focus(page: Any, server: Server) -> None:
    page.set_viewport_size({"width": 1440, "height": 520})
    open_page(page, server.place(chat=keep_answers(server)))
    page.wait_for_selector(".rc-chip")
    settle(page)
    log = page.locator(".rc-messages")
    assert log.evaluate("(log) => log.scrollHeight > log.clientHeight + 40")
    log.evaluate("(log) => log.scrollTop = 0")
    log.focus()
    before = page.evaluate(f"{VIEW}.bounds0")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.querySelector('.rc-messages').scrollTop > 0")
    settle(page)
    assert page.evaluate(f"{VIEW}.bounds0") == before
    for part in (page.locator(".rc-chip").first, page.locator(".rc-canvas").first):
        part.click()
        settle(page)
        before = page.evaluate(f"{VIEW}.bounds0")
        page.keyboard.press("ArrowDown")
        settle(page)
        assert page.evaluate(f"{VIEW}.bounds0") != before


def test_an_answer_is_copied_where_the_browser_has_no_clipboard(page: Any, server: Server) -> None:
    open_page(page, server.place(chat=keep_answers(server)))
    page.evaluate(
        """() => {
            Object.defineProperty(navigator, 'clipboard', {value: undefined});
            document.addEventListener('copy', () => {
                window.copied = document.activeElement.value;
            });
        }"""
    )
    page.locator(".rc-answer").last.get_by_label("Copy").click()
    page.get_by_text("Copied with the AI label").wait_for()
    copied = page.evaluate("window.copied")
    assert copied.startswith("Cannot determine") and "AI-generated" in copied
    page.evaluate("document.execCommand = () => false")
    page.locator(".rc-answer").last.get_by_label("Copy").click()
    page.get_by_text("doesn't allow copying").wait_for()


def test_an_answer_goes_on_while_its_page_shows_another_chat(page: Any, several: Server) -> None:
    """For longer than the server waits for a page that is gone."""
    open_page(page, several.place())
    begin_chat(page)
    page.locator(".rc-target .rc-tag").click()
    with slowed(several):
        send(page, "Describe this slide.")
        page.wait_for_function(f"document.querySelector('{WORDS}')?.innerText.length > 20")
        chat_id = page.evaluate("ruichat.page.chat.chatId")
        begin_chat(page)
        page.wait_for_timeout(1000 * GRACE_S + 2000)
        assert page.evaluate("ruichat.page.chat.chatId") is None
        kept = f"{several.address}/api/v1/chats/{chat_id}/messages"
        assert httpx.get(kept, timeout=60).json()["total"] == 1, "it ended before it could be left"
    page.locator(".rc-side select").select_option(chat_id)
    until_answered(page, 1)
    assert "Slide D" in page.locator(WORDS).inner_text()
    assert httpx.get(kept).json()["items"][1]["state"] == "complete"
