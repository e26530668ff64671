"""What people, files and the model write stays text on the page: none of it runs or is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from browsed import Server, add, post
from driving import open_page, send, settle, until_answered
from house import write_jpeg_pyramid

from ruichat.storage.database import chats
from ruichat.storage.database.connect import open_database

pytestmark = pytest.mark.slow

TRAP = """
window.struck = [];
window.strike = (where) => window.struck.push(where);
"""

STANDING = """() => {
    const all = [...document.querySelectorAll('*')];
    const own = [location.origin + '/', 'data:', 'blob:'];
    const goes = (node) => ['href', 'src', 'action', 'data', 'formaction', 'srcdoc']
        .filter((name) => node.hasAttribute(name) && !node.getAttribute(name).startsWith('#'))
        .map((name) => new URL(node.getAttribute(name), document.baseURI).href)
        .filter((url) => !own.some((start) => url.startsWith(start)));
    return {
        struck: window.struck,
        made: document.querySelectorAll(
            ['script', 'iframe', 'object', 'embed', 'base', 'link', 'meta', 'style', 'a']
                .map((tag) => `#rc-root ${tag}`).join()).length,
        handlers: all.filter((node) => [...node.attributes].some(({name}) => /^on/.test(name)))
            .map((node) => node.outerHTML.slice(0, 200)),
        elsewhere: all.flatMap(goes),
    };
}"""
"""What would be otherwise if a piece of text had been taken for more."""

HARMLESS = {"struck": [], "made": 0, "handlers": [], "elsewhere": []}


def hostile(where: str) -> str:
    """A text that would strike by markup, Markdown, a link or a template; under 200 letters."""
    return (
        f"'\"><img src=x onerror=strike('{where}')><script>strike('{where}')</script>"
        f"[a](javascript:strike('{where}'))![b](http://{where}.invalid/)"
        f"${{strike('{where}')}}{{{{{where}}}}}"
    )


def hostile_file(where: str, suffix: str = ".tif") -> str:
    """The same as the name of a file."""
    return f"'><img src=x onerror=strike('{where}')>${{strike('{where}')}}&lt;b&gt;{suffix}"


@pytest.fixture
def case(server: Server) -> Server:
    """A case in which everything that somebody may name is named so."""
    fields = {key: hostile(key) for key in ("title", "organ", "context")}
    case_id = post(server.address, "/api/v1/cases", fields)["id"]
    slide_id = upload(server, case_id)
    add(server.address, case_id, "small.tif", stain=hostile("stain"), block=hostile("block"))
    outlines = {"points": [[0, 0], [300, 300]], "shape": "rectangle", "name": hostile("region")}
    region = post(server.address, f"/api/v1/slides/{slide_id}/regions", outlines)["id"]
    post(server.address, f"/api/v1/slides/{slide_id}/findings.geojson", collection())
    filled = replace(server, case_id=case_id, slide_id=slide_id)
    keep_answer(filled, region)
    return filled


def upload(server: Server, case_id: str) -> str:
    path = write_jpeg_pyramid(server.data / "sent.tif", description=hostile("metadata"))
    answer = httpx.post(
        f"{server.address}/cases/{case_id}/slides",
        files={"file": (hostile_file("file"), path.read_bytes())},
        headers={"Origin": server.address},
        timeout=120,
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def collection() -> dict[str, Any]:
    """A file of findings, as another program may have written it."""
    ring = [[50, 50], [400, 50], [400, 400], [50, 400], [50, 50]]
    properties = {
        "objectType": "annotation",
        "name": hostile("finding"),
        "classification": {"name": hostile("class"), "color": [200, 0, 0]},
        "metadata": {key: hostile("property") for key in ("ruichat:note", "ruichat:made_by")},
        hostile("key"): hostile("value"),
    }
    shape = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": shape, "properties": properties}
    return {"type": "FeatureCollection", "features": [feature]}


def keep_answer(server: Server, region_id: str) -> None:
    """A model's answer of which every word strikes, kept as the server keeps answers."""
    text = f"{hostile('claim')} [R1]. {hostile('answer')} [R2]."
    box = {"x": 60, "y": 60, "width": 224, "height": 224}
    answer = {
        "claims": [{"text": hostile("claim"), "citations": ["R1"], "grounded": False}],
        "citations": [{"name": name, "box0": box, "shows": hostile("shows")} for name in NAMES],
        "alternatives": [{"key": hostile("tissue"), "en": hostile("tissue"), "fraction": 0.5}],
        "errors": [hostile("error")],
        "warnings": [hostile("warning")],
        "model": hostile("model"),
        "abstained": False,
        "confidence": 0.5,
    }
    me = httpx.get(f"{server.address}/api/v1/me").json()["id"]
    of: dict[str, Any] = {"user_id": me, "slide_ids": [server.slide_id]}
    database = open_database(f"sqlite:///{server.data / 'ruichat.db'}")
    with database.session() as session:
        chat = chats.create_chat(
            session, user_id=me, case_id=server.case_id, language="en", title=hostile("chat")
        ).id
        chats.add_question(session, chat, text=hostile("question"), region_id=region_id, **of)
        message = chats.add_answer(
            session, chat, text=text, thought=hostile("thought"), answer=answer, **of
        ).id
        chats.set_feedback(
            session, chat, message, user_id=me, feedback=-1, reason=hostile("reason")
        )
    database.close()


NAMES = ("R1", hostile("name"))


@pytest.fixture
def heard(chromium: Any) -> Iterator[tuple[Any, list[str], list[str]]]:
    """A tab that refusals may be shown in; what it complains of, and what it asks for."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    complaints: list[str] = []
    asked: list[str] = []
    context.set_default_timeout(60_000)
    tab = context.new_page()
    tab.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: asked.append(unquote(request.url)))
    tab.add_init_script(TRAP)
    yield tab, complaints, asked
    context.close()


def test_nothing_that_is_written_runs_or_is_fetched(
    heard: tuple[Any, list[str], list[str]], case: Server
) -> None:
    page, complaints, asked = heard
    open_page(page, case.place())
    settle(page)
    for walk in (read_chat, read_findings, read_dialogs, send_files, ask_live):
        walk(page, case)
        assert page.evaluate(STANDING) == HARMLESS, walk.__name__
        page.get_by_label("Switch to Chinese").click()
        assert page.evaluate(STANDING) == HARMLESS, walk.__name__
        page.get_by_label("切换为英文").click()
        page.wait_for_function("document.documentElement.lang === 'en'")
    page.wait_for_load_state("networkidle")
    assert [said for said in complaints if "status of 422" not in said] == []
    for url in asked:
        assert url.startswith((case.address + "/", "data:", "blob:")), url
        assert "strike" not in url and not url.endswith("/x"), url


def shown(tab: Any, selector: str, *wheres: str) -> None:
    """These texts stand there word for word."""
    words = tab.locator(selector).evaluate_all(
        "(nodes) => nodes.map((node) => (node.value ?? '') + node.textContent).join(' ')"
    )
    for where in wheres:
        assert hostile(where) in words, (selector, where, words)


def read_chat(tab: Any, case: Server) -> None:
    tab.wait_for_selector(".rc-answer .rc-actions")
    shown(tab, ".rc-case-title", "title")
    shown(tab, ".rc-question", "question", "region")
    shown(tab, ".rc-words", "claim", "answer")
    shown(tab, ".rc-thought p", "thought")
    assert hostile("tissue") not in tab.locator("#rc-root").inner_text(), (
        "of no class that is known"
    )
    shown(tab, ".rc-note", "error", "warning")
    shown(tab, ".rc-reason input", "reason")
    shown(tab, ".rc-side select", "chat")
    shown(tab, ".rc-names", "region")
    shown(tab, ".rc-slides", "stain", "block")
    assert hostile_file("file") in tab.locator(".rc-slides").inner_text()
    tab.locator(".rc-chip").first.click()
    settle(tab)
    shown(tab, ".rc-names", "name")


def read_findings(tab: Any, case: Server) -> None:
    tab.get_by_role("tab", name="Findings").click()
    shown(tab, ".rc-findings", "finding", "class")
    tab.locator(".rc-finding-name").first.click()
    settle(tab)
    shown(tab, ".rc-names", "finding")
    broken = {"name": "a.geojson", "mimeType": "", "buffer": hostile("json").encode()}
    tab.locator(".rc-findings-foot input[type=file]").set_input_files(broken)
    tab.locator(".rc-notice.rc-error", has_text="isn't GeoJSON").wait_for()
    tab.get_by_role("tab", name="Chat").click()


def close(tab: Any) -> None:
    tab.locator(".rc-dialog header").get_by_label("Close").click()
    tab.wait_for_selector(".rc-dialog", state="detached")


def read_dialogs(tab: Any, case: Server) -> None:
    tab.get_by_label("Title and clinical context").click()
    tab.wait_for_selector(".rc-dialog")
    shown(tab, ".rc-dialog input, .rc-dialog textarea", "title", "context")
    close(tab)
    tab.get_by_label("Choose a case").click()
    tab.wait_for_selector(".rc-choices button")
    shown(tab, ".rc-choices", "title", "organ")
    close(tab)
    tab.locator(".rc-slide-edit").nth(1).click()
    tab.wait_for_selector(".rc-dialog")
    shown(tab, ".rc-dialog input", "stain", "block")
    close(tab)
    path = write_jpeg_pyramid(case.folder / hostile_file("folder"))
    tab.get_by_label("From the server's folders").click()
    tab.get_by_label("Search by name").fill("onerror")
    tab.locator(".rc-choices label", has_text=hostile_file("folder")).wait_for()
    assert tab.evaluate(STANDING) == HARMLESS
    close(tab)
    path.unlink()


def send_files(tab: Any, case: Server) -> None:
    """Files that are refused by their names, which the refusals repeat."""
    name = hostile_file("sent", ".<img src=x onerror=strike()>")
    with tab.expect_response("**/cases/*/slides") as answer:
        tab.locator(".rc-strip input[type=file]").set_input_files(
            {"name": name, "mimeType": "", "buffer": b"x"}
        )
    assert answer.value.status == 422
    tab.wait_for_function(
        "[...document.querySelectorAll('.rc-notice')].some((n) => n.textContent.includes('.<img'))"
    )


def ask_live(tab: Any, case: Server) -> None:
    """A question that strikes, and whatever the model makes of it."""
    count = tab.locator(".rc-answer").count()
    send(tab, hostile("live"))
    shown(tab, ".rc-question", "live")
    until_answered(tab, count + 1)
