"""What tests of the page do again and again, with a Playwright page."""

from __future__ import annotations

import time
from typing import Any

VIEW = "ruichat.page.stage.main.view"
TUMOUR = "Is there tumour on this slide, and where?"
IDLE = "!ruichat.page.chat.composer.running"


def open_page(page: Any, address: str) -> None:
    """Open the page and wait until a slide is shown and questions can be asked."""
    page.goto(address)
    page.wait_for_function("window.ruichat?.page?.stage.main.view.info?.num_levels > 0")
    page.wait_for_function("ruichat.page.chat.bridge.component !== null")


def watch_streams(page: Any) -> None:
    """Know which of Gradio's streams are open, for `reload`."""
    page.streams = set()
    page.on("request", lambda asked: "/queue/data?" in asked.url and page.streams.add(asked))
    for end in ("requestfinished", "requestfailed"):
        page.on(end, lambda asked: page.streams.discard(asked))


def reload(page: Any) -> None:
    """Reload the page between Gradio's streams: of one that is cut off its client complains."""
    deadline = time.monotonic() + 60
    while page.streams:
        assert time.monotonic() < deadline, "a stream of Gradio's stays open"
        page.wait_for_timeout(20)
    page.reload()


def begin_chat(page: Any) -> None:
    """Leave the chats of other tests alone."""
    page.get_by_label("New chat").click()
    page.wait_for_selector(".rc-welcome")


def settle(page: Any) -> None:
    """Wait until a slide or two stand still, where they were told to go."""
    page.wait_for_function(
        """async () => {
            const panes = ruichat.page.stage.panes.filter((pane) => pane.view.info);
            const at = (now) => panes.map(({view}) => view.osd.viewport.getBounds(now))
                .flatMap(({x, y, width, height}) => [x, y, width, height]);
            const before = at(true);
            await new Promise((resolve) => setTimeout(resolve, 250));
            const apart = (other) => at(true).some((value, i) => Math.abs(value - other[i]) > 1e-4);
            return before.length && !apart(before) && !apart(at(false));
        }"""
    )


def remembered(page: Any) -> None:
    """Wait until the address says where the slide on the left stands."""
    settle(page)
    page.wait_for_function(
        f"""() => {{
            const at = new URLSearchParams(location.hash.slice(1)).get("at")?.split(",") ?? [];
            const {{x, y, umPerPx}} = {VIEW}.view;
            return Math.abs(at[0] - x) <= 1 && Math.abs(at[1] - y) <= 1
                && Math.abs(at[2] / umPerPx - 1) < 1e-3;
        }}"""
    )


def send(page: Any, question: str) -> None:
    """Type a question and send it."""
    page.locator(".rc-write textarea").fill(question)
    page.keyboard.press("Enter")


def ask(page: Any, question: str) -> Any:
    """Ask a question and give its answer once it is whole."""
    count = page.locator(".rc-answer").count()
    send(page, question)
    until_answered(page, count + 1)
    return page.locator(".rc-answer").last


def until_answered(page: Any, count: int) -> None:
    """Wait for so many whole answers."""
    answers = "document.querySelectorAll('.rc-answer .rc-actions').length"
    page.wait_for_function(f"{answers} === {count} && {IDLE}")


def magnification(page: Any) -> float:
    """As shown now."""
    return page.evaluate(f"{VIEW}.magnification")


def drag(page: Any, start: tuple[float, float], end: tuple[float, float], pane: int = 0) -> None:
    """Drag over a slide; places are shares of its pane."""
    box = page.locator(".rc-canvas").nth(pane).bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=6)
    page.mouse.up()


def click_slide(page: Any, place: tuple[float, float], pane: int = 0) -> None:
    """Click on a slide, not so soon after the last click that it would count as double."""
    box = page.locator(".rc-canvas").nth(pane).bounding_box()
    page.wait_for_timeout(400)
    page.mouse.click(box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"])


def slide_ids(page: Any) -> list[str]:
    """Of the case, in order, once they are listed."""
    page.wait_for_function("ruichat.page.strip.slides.length > 1")
    return page.evaluate("ruichat.page.strip.slides.map(({id}) => id)")


def step_to(page: Any, slide_id: str, key: str = "PageDown") -> None:
    """Go to the next slide by its key, and wait until it is shown."""
    over_slide(page)
    page.keyboard.press(key)
    page.wait_for_function(
        f"ruichat.page.stage.main.slide?.id === '{slide_id}' && {VIEW}.info !== null"
    )


def over_slide(page: Any) -> None:
    """Move the pointer over the slide."""
    page.locator(".rc-canvas").first.hover()
