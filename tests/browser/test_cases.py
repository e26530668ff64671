"""Cases, their slides and findings, with real clicks and keys."""

from __future__ import annotations

from typing import Any

import pytest
from browsed import Server
from driving import TUMOUR, VIEW, ask, begin_chat, open_page, over_slide, settle

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
    assert page.locator(".rc-cases option:checked").inner_text() == "<b>S26-02</b>"
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
