"""A login that is asked for, or has ended, leads back to where one was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsed import started
from served import PASSWORD

from ruichat.storage.database import cases, users
from ruichat.storage.database.connect import open_database

driven: Any = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.slow


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address of a server that asks for a login, and a case of li that isn't the last used."""
    database = open_database(f"sqlite:///{tmp_path / 'ruichat.db'}")
    database.migrate()
    with database.session() as session:
        li = users.create_user(session, name="li", role="pathologist", password=PASSWORD).id
        wanted = cases.create_case(session, user_id=li, title="S26-1").id
        cases.create_case(session, user_id=li, title="S26-2")
    database.close()
    with started(tmp_path, {"RUICHAT_CACHE": str(tmp_path / "cache")}) as (address, _):
        yield address, wanted


def log_in(page: Any) -> None:
    page.wait_for_url("**/login?*")
    page.locator("input[name=name]").fill("li")
    page.locator("input[name=password]").fill(PASSWORD)
    page.keyboard.press("Enter")


def test_a_bookmark_outlives_the_login(refused: Any, guarded: tuple[str, str]) -> None:
    page, (address, wanted) = refused, guarded
    title = page.locator(".rc-case-title", has_text="S26-1")
    page.goto(f"{address}/page/#case={wanted}")
    page.get_by_text("中文").click()
    page.get_by_text("用户名").wait_for()
    assert "#" not in page.url  # it goes with the link, as it goes with one to the hospital's login
    log_in(page)
    title.wait_for()
    page.context.clear_cookies()
    # The page may have left by itself, as its next question to the server is refused.
    with contextlib.suppress(driven.Error):
        page.locator(".rc-case-name").click(timeout=3000)
    log_in(page)
    title.wait_for()
    assert page.evaluate("location.href").startswith(f"{address}/page/#case={wanted}")


def test_a_link_of_another_site_asks_for_no_second_login(
    refused: Any, guarded: tuple[str, str]
) -> None:
    page, (address, wanted) = refused, guarded
    page.goto(f"{address}/page/")
    log_in(page)
    page.locator(".rc-case-title", has_text="S26-2").wait_for()
    link = f'<a href="{address}/page/#case={wanted}">S26-1</a>'
    mail = "http://mail.example/"
    page.route(mail, lambda route: route.fulfill(content_type="text/html", body=link))
    page.goto(mail)
    page.get_by_text("S26-1").click()
    page.locator(".rc-case-title", has_text="S26-1").wait_for()


def test_what_is_typed_outlives_a_login_that_ends(refused: Any, guarded: tuple[str, str]) -> None:
    page, (address, wanted) = refused, guarded
    page.goto(f"{address}/page/#case={wanted}")
    log_in(page)
    page.locator(".rc-case-title", has_text="S26-1").wait_for()
    page.get_by_label("Title and clinical context").click()
    context = page.locator(".rc-dialog textarea")
    context.fill("Female, 58; screening")
    # Gradio may want to load the page anew, and the browser then asks.
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.context.clear_cookies()
    with page.expect_response(lambda answer: answer.request.method == "PATCH") as refusal:
        page.get_by_role("button", name="Save").click()
    assert refusal.value.status == 401
    page.locator(".rc-notice a[target=_blank]", has_text="Log in in a new tab").first.wait_for()
    aside = page.context.new_page()
    aside.goto(page.locator(".rc-notice a[target=_blank]").first.get_attribute("href"))
    log_in(aside)
    aside.locator(".rc-case-title", has_text="S26-1").wait_for()
    assert context.input_value() == "Female, 58; screening"
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector(".rc-dialog", state="detached")
    aside.reload()
    saved = "ruichat.page.cases.current?.context"
    aside.wait_for_function(f"{saved} === 'Female, 58; screening'")


def test_a_page_that_cannot_begin_is_begun_again(refused: Any, guarded: tuple[str, str]) -> None:
    page, (address, wanted) = refused, guarded
    page.route("**/api/v1/cases?*", lambda route: route.fulfill(status=502, body="Bad Gateway"))
    page.goto(f"{address}/page/#case={wanted}")
    log_in(page)
    page.get_by_text("The page can't be opened at the moment").wait_for()
    assert "The server can't be reached" in page.locator(".rc-notice").inner_text()
    assert not page.locator(".rc-case-title").is_visible()
    page.unroute("**/api/v1/cases?*")
    page.get_by_role("button", name="Try again").click()
    page.locator(".rc-case-title", has_text="S26-1").wait_for()
