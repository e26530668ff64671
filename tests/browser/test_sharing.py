"""A case is shared, left and deleted by those who may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsed import started
from served import PASSWORD

from ruichat.storage.database import cases, users
from ruichat.storage.database.connect import open_database

pytestmark = pytest.mark.slow


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a server where li has two cases, and wang none."""
    database = open_database(f"sqlite:///{tmp_path / 'ruichat.db'}")
    database.migrate()
    with database.session() as session:
        for name in ("li", "wang"):
            users.create_user(session, name=name, role="pathologist", password=PASSWORD)
        li = users.find_user(session, name="li")
        assert li is not None
        for title in ("S26-1", "S26-2"):
            cases.create_case(session, user_id=li.id, title=title)
    database.close()
    with started(tmp_path, {"RUICHAT_CACHE": str(tmp_path / "cache")}) as (found, _):
        yield found


def enter(page: Any, address: str, name: str) -> None:
    page.goto(f"{address}/page/")
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector(".rc-cases")


def test_a_case_is_shared_left_and_deleted(refused: Any, chromium: Any, address: str) -> None:
    page = refused
    page.on("dialog", lambda dialog: dialog.accept())
    enter(page, address, "li")
    page.locator(".rc-case-title", has_text="S26-2").wait_for()
    page.get_by_label("Share the case").click()
    page.get_by_text("Nobody else sees this case").wait_for()
    page.get_by_label("User name of a colleague").fill("nobody")
    page.get_by_role("button", name="Share", exact=True).click()
    page.get_by_text("There is no user of this name").wait_for()
    page.get_by_label("User name of a colleague").fill("wang")
    page.keyboard.press("Enter")
    page.get_by_text("wang sees this case now").wait_for()

    other = chromium.new_context(locale="en-GB").new_page()
    other.on("dialog", lambda dialog: dialog.accept())
    enter(other, address, "wang")
    other.locator(".rc-case-title", has_text="S26-2").wait_for()
    other.get_by_label("Title and clinical context").click()
    other.wait_for_selector(".rc-dialog textarea")
    assert other.locator(".rc-danger").count() == 0  # it isn't wang's to delete
    other.keyboard.press("Escape")
    other.get_by_label("Share the case").click()
    other.get_by_role("button", name="Leave").wait_for()
    assert other.get_by_label("User name of a colleague").count() == 0
    other.get_by_role("button", name="Leave").click()
    other.locator(".rc-case-title", has_text="No case yet").wait_for()

    page.get_by_label("Share the case").click()
    page.get_by_text("Nobody else sees this case").wait_for()
    page.keyboard.press("Escape")
    page.get_by_label("Title and clinical context").click()
    page.get_by_role("button", name="Delete").click()
    page.locator(".rc-case-title", has_text="S26-1").wait_for()
    page.get_by_label("Choose a case").click()
    page.wait_for_selector(".rc-choices button")
    assert page.locator(".rc-choices button").count() == 1
    other.context.close()
