"""Cases, their slides and findings, with real clicks and keys."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from browsed import Server, post
from driving import (
    TUMOUR,
    VIEW,
    ask,
    begin_chat,
    open_page,
    over_slide,
    settle,
    slide_ids,
    step_to,
)

from ruichat.storage.database import cases
from ruichat.storage.database.connect import open_database

pytestmark = pytest.mark.slow

SLOW_LINE = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2e6}
"""Bytes per second, so that the drawn slide is on its way for a while."""


def test_regions_of_an_answer_become_findings_to_decide(
    page: Any, server: Server, picture: Any
) -> None:
    open_page(page, server.place())
    begin_chat(page)
    ask(page, TUMOUR).get_by_label("Keep as findings").click()
    page.wait_for_selector(".rc-finding.rc-proposed")
    over_slide(page)
    page.keyboard.press("n")
    page.keyboard.press("y")
    page.wait_for_selector(".rc-finding.rc-accepted")
    page.keyboard.press("x")
    page.wait_for_selector(".rc-finding.rc-rejected")
    settle(page)
    page.wait_for_load_state("networkidle")
    picture(page, "findings")
    page.keyboard.press("u")
    page.wait_for_selector(".rc-finding.rc-rejected", state="detached")
    assert page.locator(".rc-finding.rc-accepted").count() == 1
    shows = page.locator(".rc-finding-name .rc-quiet").first
    assert re.fullmatch(r"[a-z ]+", shows.inner_text())
    page.get_by_label("Switch to Chinese").click()
    assert re.fullmatch(r"[\u4e00-\u9fff]+", shows.inner_text())
    assert page.locator("ol.rc-findings").get_attribute("aria-label") == "发现"
    page.get_by_label("切换为英文").click()
    page.wait_for_load_state("networkidle")


def test_a_case_is_made_and_a_slide_sent(page: Any, server: Server) -> None:
    open_page(page, server.place())
    page.get_by_label("New case").click()
    page.get_by_label("Title", exact=True).fill("<b>S26-02</b>")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector(".rc-slides .rc-hint")
    assert page.locator(".rc-case-title").inner_text() == "<b>S26-02</b>"
    assert page.locator(".rc-missing").is_visible()
    line = page.context.new_cdp_session(page)
    line.send("Network.emulateNetworkConditions", SLOW_LINE)
    page.locator(".rc-strip input[type=file]").set_input_files(server.folder / "small.tif")
    page.wait_for_function(
        "document.querySelector('.rc-sending progress')?.value > 0.2"
        " && document.querySelector('.rc-sending progress').value < 1"
    )
    page.wait_for_selector(".rc-slides img")
    line.send("Network.emulateNetworkConditions", SLOW_LINE | {"uploadThroughput": -1})
    page.wait_for_function(f"{VIEW}.info?.num_levels > 0")
    page.get_by_label("Title and clinical context").click()
    page.get_by_role("textbox", name="Clinical context").fill("Female, 61; sigmoid polyp")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector(".rc-missing", state="hidden")


def test_a_case_is_found_among_many(page: Any, server: Server) -> None:
    make_cases(server, 210)
    open_page(page, server.place())
    page.get_by_label("Choose a case").click()
    page.wait_for_selector(".rc-choices button")
    assert page.locator(".rc-choices button").count() == 200
    assert "200 of 21" in page.locator(".rc-count").inner_text()
    page.keyboard.type("lung S25")
    page.wait_for_function("document.querySelectorAll('.rc-choices button').length === 1")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".rc-dialog", state="detached")
    assert page.locator(".rc-case-title").inner_text() == "S25-0003"
    page.wait_for_selector(".rc-slides .rc-hint")
    page.locator(".rc-stage").hover()
    page.keyboard.press("Shift+PageDown")
    page.wait_for_function("document.querySelector('.rc-case-title').textContent === 'S25-0002'")


def make_cases(server: Server, count: int) -> None:
    """Cases S25-0000 and so on, the fourth of another organ."""
    me = httpx.get(f"{server.address}/api/v1/me").json()["id"]
    database = open_database(f"sqlite:///{server.data / 'ruichat.db'}")
    with database.session() as session:
        for number in range(count):
            organ = "lung" if number == 3 else "breast"
            cases.create_case(session, user_id=me, title=f"S25-{number:04}", organ=organ)
    database.close()


def test_slides_are_chosen_from_a_folder(page: Any, server: Server) -> None:
    open_page(page, server.place())
    page.get_by_label("New case").click()
    page.get_by_label("Title", exact=True).fill("S26-03")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector(".rc-slides .rc-hint")
    page.get_by_label("From the server's folders").click()
    page.wait_for_selector(".rc-choices label")
    page.keyboard.type("nosuchslide")
    page.wait_for_function("document.querySelectorAll('.rc-choices label').length === 0")
    page.get_by_label("Search by name").fill("SMALL")
    page.get_by_role("checkbox", name="small.tif").check()
    page.get_by_role("button", name="Add", exact=True).click()
    page.wait_for_selector(".rc-slides img")
    page.wait_for_function(f"{VIEW}.info?.num_levels > 0")


def test_the_list_of_slides_says_what_it_leaves_out_and_doubts(page: Any, server: Server) -> None:
    """The real list, as if its folder were too large and its first slide a mask."""

    def cut(route: Any) -> None:
        told = route.fetch().json()
        told["entries"][0]["sign"] = "flat"
        route.fulfill(json=told | {"cut": ["archive"]})

    page.route("**/folders?*", cut)
    open_page(page, server.place())
    page.get_by_label("From the server's folders").click()
    page.wait_for_selector(".rc-list-note")
    assert "archive: too many files" in page.locator(".rc-list-note").inner_text()
    assert page.locator(".rc-choices label .rc-badge").inner_text() == "flat colours: a mask?"
    assert page.locator(".rc-choices label").first.locator(".rc-badge").count() == 1


def choose(page: Any, title: str) -> None:
    """Open a case by the list."""
    page.locator(".rc-case-name").click()
    page.wait_for_selector(".rc-choices button")
    page.keyboard.type(title)
    page.wait_for_function("document.querySelectorAll('.rc-choices button').length === 1")
    page.locator(".rc-choices button").click()


CASES_SHOWN = """(() => {
    const {strip, chat, place, cases, stage} = ruichat.page;
    const slide = strip.slides.find(({id}) => id === stage.main.slide?.id);
    return [cases.current.id, strip.case?.id, chat.case?.id, place.case, slide?.case_id];
})()"""
"""Of which case each part of the page shows something."""


def test_a_case_whose_slides_come_late_takes_no_part_in_the_next(
    page: Any, server: Server, several: Server
) -> None:
    late: list[Any] = []
    open_page(page, several.place())
    page.route(f"**/api/v1/cases/{server.case_id}/slides?*", lambda route: late.append(route))
    choose(page, "S26-01482")
    page.wait_for_function("ruichat.page.strip.case?.id === ruichat.page.cases.current.id")
    choose(page, "S26-01517")
    page.wait_for_function(f"{VIEW}.info !== null && !ruichat.page.opening")
    for route in late:
        route.continue_()
    assert late
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    assert page.evaluate(CASES_SHOWN) == [several.case_id] * 5


def test_a_case_that_cannot_be_opened_shows_nothing_of_the_one_before(
    refused: Any, server: Server, several: Server
) -> None:
    page = refused
    open_page(page, server.place())
    page.get_by_label("Switch to Chinese").click()
    slides = f"**/api/v1/cases/{several.case_id}/slides?*"
    problem = {"error": {"type": "AccessError", "message": "too many requests", "hint": ""}}
    page.route(slides, lambda route: route.fulfill(status=429, json=problem))
    choose(page, "S26-01517")
    page.get_by_text("暂时无法打开此病例").wait_for()
    assert page.evaluate(CASES_SHOWN) == [several.case_id, None, None, several.case_id, None]
    assert page.locator(".rc-slides li, .rc-question").count() == 0
    assert page.locator(".rc-strip-foot").is_hidden()
    notice = page.locator(".rc-notice.rc-error").inner_text()
    assert notice.index("请求过于频繁") < notice.index("too many requests")
    page.unroute(slides)
    page.locator(".rc-empty button").click()
    page.wait_for_function(f"{VIEW}.info !== null")
    assert page.evaluate(CASES_SHOWN) == [several.case_id] * 5
    page.get_by_label("切换为英文").click()
    page.wait_for_load_state("networkidle")


def test_a_key_that_is_held_opens_one_case(page: Any, server: Server) -> None:
    for number in range(3):
        post(server.address, "/api/v1/cases", {"title": f"held {number}"})
    open_page(page, server.place())
    choose(page, "held 2")
    page.wait_for_selector(".rc-slides .rc-hint")
    page.evaluate(
        "ruichat.page.cases.addEventListener('open', () => (window.opened ??= []).push(1))"
    )
    over_stage = page.locator(".rc-stage")
    over_stage.hover()
    page.keyboard.down("Shift")
    for _ in range(3):
        page.keyboard.down("PageDown")
    page.keyboard.up("PageDown")
    page.keyboard.up("Shift")
    page.wait_for_function("document.querySelector('.rc-case-title').textContent === 'held 1'")
    assert page.evaluate("window.opened.length") == 1


def test_saving_a_case_changes_only_what_was_changed(page: Any, server: Server) -> None:
    made = {"title": "S26-7", "organ": "uterus", "context": ""}
    case_id = post(server.address, "/api/v1/cases", made)["id"]
    address = f"{server.address}/api/v1/cases/{case_id}"

    def somebody(context: str) -> None:
        change = {"context": context}
        httpx.patch(address, json=change, headers={"Origin": server.address}).raise_for_status()

    page.goto(server.place(case=case_id))
    page.wait_for_selector(".rc-slides .rc-hint")
    somebody("Female, 50")
    page.get_by_label("Title and clinical context").click()
    page.wait_for_selector(".rc-dialog")
    assert page.get_by_role("textbox", name="Clinical context").input_value() == "Female, 50"
    assert page.locator(".rc-dialog select").input_value() == "uterus"
    somebody("Female, 51")
    page.get_by_label("Title", exact=True).fill("S26-8")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector(".rc-dialog", state="detached")
    kept = httpx.get(address).json()
    assert [kept[key] for key in made] == ["S26-8", "uterus", "Female, 51"]


def test_who_changes_what_a_colleague_has_changed_sees_both(refused: Any, server: Server) -> None:
    page = refused
    made = {"title": "S26-9", "organ": "lung", "context": "Male, 60"}
    case_id = post(server.address, "/api/v1/cases", made)["id"]
    address = f"{server.address}/api/v1/cases/{case_id}"
    page.goto(server.place(case=case_id))
    page.wait_for_selector(".rc-slides .rc-hint")
    page.get_by_label("Title and clinical context").click()
    context = page.get_by_role("textbox", name="Clinical context")
    context.fill("Male, 62; smoker")
    others = {"context": "Male, 61", "organ": "liver"}
    httpx.patch(address, json=others, headers={"Origin": server.address}).raise_for_status()
    page.get_by_role("button", name="Save").click()
    assert "Male, 61" in page.locator(".rc-theirs").inner_text()
    assert context.input_value() == "Male, 62; smoker"
    assert page.locator(".rc-dialog select").input_value() == "liver"
    assert httpx.get(address).json()["context"] == "Male, 61"
    assert page.locator(".rc-notice").count() == 0
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector(".rc-dialog", state="detached")
    kept = httpx.get(address).json()
    assert (kept["context"], kept["organ"]) == ("Male, 62; smoker", "liver")


def test_a_dialog_stays_open_where_a_text_is_selected_beyond_it(page: Any, server: Server) -> None:
    open_page(page, server.place())
    page.get_by_label("Title and clinical context").click()
    box = page.get_by_role("textbox", name="Clinical context").bounding_box()
    page.mouse.move(box["x"] + 90, box["y"] + 12)
    page.mouse.down()
    page.mouse.move(5, box["y"] + 12, steps=4)
    page.mouse.up()
    assert page.locator(".rc-dialog").count() == 1
    page.mouse.click(5, 400)
    page.wait_for_selector(".rc-dialog", state="detached")


def test_esc_and_a_click_beside_leave_a_dialog_that_was_written_in(
    page: Any, server: Server
) -> None:
    open_page(page, server.place())
    page.get_by_label("Title and clinical context").click()
    context = page.get_by_role("textbox", name="Clinical context")
    context.fill("Female, 58; screening")
    for _ in range(3):
        page.keyboard.press("Escape")
    page.mouse.click(5, 400)
    assert context.input_value() == "Female, 58; screening"
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector(".rc-dialog", state="detached")
    page.get_by_label("Title and clinical context").click()
    page.wait_for_selector(".rc-dialog")
    page.keyboard.press("Escape")
    page.wait_for_selector(".rc-dialog", state="detached")


def test_a_folder_list_that_is_refused_says_so_above_the_dialog(
    refused: Any, server: Server
) -> None:
    page = refused
    open_page(page, server.place())
    problem = {"error": {"type": "AccessError", "message": "too many requests", "hint": ""}}
    page.route("**/folders?*", lambda route: route.fulfill(status=429, json=problem))
    page.get_by_label("From the server's folders").click()
    notice = page.locator(".rc-notice.rc-error")
    notice.get_by_label("Close").click()
    notice.wait_for(state="detached")
    assert page.locator(".rc-dialog").count() == 1


def test_the_page_without_a_case_says_so_in_both_languages(page: Any, server: Server) -> None:
    none = {"items": [], "total": 0, "offset": 0, "limit": 1000}
    page.route("**/api/v1/cases?*", lambda route: route.fulfill(json=none))
    page.goto(f"{server.address}/page/")
    page.get_by_text("A case holds the slides").wait_for()
    page.get_by_label("Switch to Chinese").click()
    assert "病例包含同一标本" in page.locator(".rc-empty").first.inner_text()
    assert page.locator(".rc-empty button").inner_text() == "新建病例"
    page.get_by_label("切换为英文").click()
    assert page.locator(".rc-empty button").inner_text() == "New case"
    page.wait_for_load_state("networkidle")


def test_a_bookmark_opens_in_the_open_page(page: Any, server: Server, several: Server) -> None:
    open_page(page, server.place())
    fragment = several.place().partition("#")[2]
    # The page writes its own place over the address before it hears of the bookmark.
    page.evaluate(
        f"""() => {{
            const before = location.href;
            location.hash = '{fragment}';
            history.replaceState(null, '', before);
        }}"""
    )
    page.wait_for_function(f"{VIEW}.info?.id === '{several.slide_id}' && !ruichat.page.opening")
    assert page.evaluate(CASES_SHOWN) == [several.case_id] * 5
    assert page.locator(".rc-case-title").inner_text() == "S26-01517"
    second = slide_ids(page)[1]
    step_to(page, second)
    page.evaluate(f"location.hash = 'case={'0' * 32}'")
    page.get_by_text("The case of this address doesn't exist").wait_for()
    page.wait_for_function(f"{VIEW}.info !== null && !ruichat.page.opening")
    assert page.evaluate(CASES_SHOWN) == [several.case_id] * 5
    assert page.evaluate(f"{VIEW}.info.id") == second
