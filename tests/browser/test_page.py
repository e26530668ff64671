"""What a pathologist does, with real clicks and keys."""

from __future__ import annotations

import re
from typing import Any

import pytest
from browsed import Server

pytestmark = pytest.mark.slow

VIEW = "ruichat.page.stage.main.view"
TUMOUR = "Is there tumour on this slide, and where?"


def open_page(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_function("window.ruichat?.page?.stage.main.view.info?.num_levels > 0")
    page.wait_for_function("ruichat.page.chat.bridge.component !== null")


def settle(page: Any) -> None:
    """Wait until the view stands still."""
    page.wait_for_function(
        f"""async () => {{
            const at = () => JSON.stringify({VIEW}.bounds0);
            const before = at();
            await new Promise((resolve) => setTimeout(resolve, 250));
            return at() === before;
        }}"""
    )


def ask(page: Any, question: str) -> Any:
    """Type a question, send it, and give its answer once it is whole."""
    count = page.locator(".rc-answer").count()
    page.get_by_label("Question").fill(question)
    page.keyboard.press("Enter")
    page.wait_for_function(
        f"document.querySelectorAll('.rc-answer').length === {count + 1}"
        " && !ruichat.page.chat.composer.running"
    )
    return page.locator(".rc-answer").last


def magnification(page: Any) -> float:
    return page.evaluate(f"{VIEW}.magnification")


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over the slide; places are shares of the pane."""
    box = page.locator(".rc-canvas").first.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=6)
    page.mouse.up()


def test_a_slide_opens_and_zooms_by_wheel_and_keys(page: Any, server: Server, picture: Any) -> None:
    open_page(page, server.address)
    settle(page)
    picture(page, "page")
    first = magnification(page)
    page.locator(".rc-canvas").first.hover()
    page.mouse.wheel(0, -400)
    settle(page)
    assert magnification(page) > 1.2 * first
    page.keyboard.press("5")
    settle(page)
    assert abs(magnification(page) / 20 - 1) < 0.02
    assert page.locator(".rc-times").first.inner_text() == "20×"
    assert page.locator(".rc-zooms button[aria-pressed=true]").first.inner_text() == "20×"
    page.keyboard.press("-")
    settle(page)
    assert magnification(page) < 19
    before = page.evaluate(f"{VIEW}.bounds0.x")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert page.evaluate(f"{VIEW}.bounds0.x") > before
    page.keyboard.press("]")
    settle(page)
    assert page.evaluate(f"{VIEW}.view.rotation") == 90
    page.keyboard.press("0")
    settle(page)
    assert abs(magnification(page) / first - 1) < 0.05


def test_the_scale_bar_is_as_long_as_it_says(page: Any, server: Server) -> None:
    open_page(page, server.address)
    settle(page)
    shown = page.locator(".rc-bar").first
    number, unit = shown.inner_text().split()
    um = float(number) * {"µm": 1, "mm": 1000}[unit]
    px = float(shown.evaluate("node => node.style.getPropertyValue('--length')").rstrip("px"))
    assert abs(px * page.evaluate(f"{VIEW}.umPerPx") / um - 1) < 0.01


def test_an_answer_streams_and_a_citation_flies_there(
    page: Any, server: Server, picture: Any
) -> None:
    open_page(page, server.place())
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
    settle(page)
    page.locator(".rc-canvas").first.hover()
    page.keyboard.press("r")
    drag(page, (0.3, 0.35), (0.55, 0.6))
    page.wait_for_selector(".rc-target .rc-tag")
    assert re.search(r"Region \d+ · [\d.]+ mm²", page.locator(".rc-target .rc-tag").inner_text())
    answer = ask(page, "What is in this region?")
    picture(page, "region")
    assert "Region" in page.locator(".rc-question .rc-tag").last.inner_text()
    assert len(answer.inner_text()) > 20


def test_a_polygon_a_ruler_and_a_square_millimetre(page: Any, server: Server) -> None:
    open_page(page, server.place())
    settle(page)
    box = page.locator(".rc-canvas").first.bounding_box()
    page.locator(".rc-canvas").first.hover()
    page.keyboard.press("l")
    drag(page, (0.4, 0.5), (0.5, 0.5))
    um = 0.1 * box["width"] * page.evaluate(f"{VIEW}.umPerPx")
    shown = page.locator(".rc-name text").last.text_content()
    assert abs(float(shown.split()[0]) / um - 1) < 0.05
    page.keyboard.press("Escape")
    page.keyboard.press("o")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function(
        "[...document.querySelectorAll('.rc-name')].some((tag) => tag.textContent === '1 mm²')"
    )
    page.keyboard.press("Escape")
    regions = page.locator(".rc-layer-regions .rc-mark").count()
    page.keyboard.press("p")
    for x, y in ((0.6, 0.4), (0.7, 0.4), (0.65, 0.55)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(400)  # two quick clicks would be one double click
    page.keyboard.press("Enter")
    page.wait_for_function(
        f"document.querySelectorAll('.rc-layer-regions .rc-mark').length === {regions + 1}"
    )
