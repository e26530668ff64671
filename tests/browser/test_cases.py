"""Cases, their slides and findings, with real clicks and keys."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from browsed import Server
from driving import TUMOUR, VIEW, ask, begin_chat, open_page, over_slide, settle

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
