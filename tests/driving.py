"""What tests of the page do again and again, with a Playwright page."""

from __future__ import annotations

from typing import Any

VIEW = "ruichat.page.stage.main.view"
TUMOUR = "Is there tumour on this slide, and where?"
IDLE = "!ruichat.page.chat.composer.running"


def open_page(page: Any, address: str) -> None:
    """Open the page and wait until a slide is shown and questions can be asked."""
    page.goto(address)
    page.wait_for_function("window.ruichat?.page?.stage.main.view.info?.num_levels > 0")
    page.wait_for_function("ruichat.page.chat.bridge.component !== null")


def begin_chat(page: Any) -> None:
    """Leave the chats of other tests alone."""
    page.get_by_label("New chat").click()
    page.wait_for_selector(".rc-welcome")


def settle(page: Any) -> None:
    """Wait until the slides stand still, where they were told to go."""
    page.wait_for_function(
        """async () => {
            const panes = ruichat.page.stage.panes.filter((pane) => pane.view.info);
            const at = (now) => panes.map(({view}) => view.osd.viewport.getBounds(now))
                .flatMap(({x, y, width, height}) => [x, y, width, height]);
            const before = at(true);
            await new Promise((resolve) => setTimeout(resolve, 250));
            const apart = (other) => at(true).some((value, i) => Math.abs(value - other[i]) > 1e-4);
            return !apart(before) && !apart(at(false));
        }"""
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


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over the slide; places are shares of the pane."""
    box = page.locator(".rc-canvas").first.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=6)
    page.mouse.up()


def over_slide(page: Any) -> None:
    """Move the pointer over the slide."""
    page.locator(".rc-canvas").first.hover()
