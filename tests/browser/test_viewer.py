"""The slide viewer, with real clicks and keys."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from browsed import Server
from driving import (
    VIEW,
    click_slide,
    drag,
    magnification,
    open_page,
    over_slide,
    reload,
    remembered,
    settle,
    slide_ids,
    step_to,
)

pytestmark = pytest.mark.slow


def test_a_slide_opens_and_zooms_by_wheel_and_keys(page: Any, server: Server, picture: Any) -> None:
    open_page(page, server.place())
    settle(page)
    picture(page, "page")
    first = magnification(page)
    over_slide(page)
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
    open_page(page, server.place())
    settle(page)
    shown = page.locator(".rc-bar").first
    number, unit = shown.inner_text().split()
    um = float(number) * {"µm": 1, "mm": 1000}[unit]
    px = float(shown.evaluate("node => node.style.getPropertyValue('--length')").rstrip("px"))
    assert abs(px * page.evaluate(f"{VIEW}.umPerPx") / um - 1) < 0.01


def test_a_polygon_a_ruler_and_a_square_millimetre(page: Any, server: Server) -> None:
    open_page(page, server.place())
    settle(page)
    box = page.locator(".rc-canvas").first.bounding_box()
    over_slide(page)
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


def test_overlays_go_on_and_off(page: Any, server: Server, picture: Any) -> None:
    open_page(page, server.place())
    page.wait_for_function("!ruichat.page.stage.overlays.boxes.classes.disabled")
    over_slide(page)
    page.keyboard.press("c")
    page.wait_for_selector(".rc-layer-masks image", state="attached")
    page.get_by_label("Overlays", exact=True).first.click()
    assert page.locator(".rc-legend li").count() >= 3
    slider = page.get_by_label("Opacity of Tissue classes (AI)")
    slider.fill("0.8")
    assert page.locator(".rc-layer-masks image").get_attribute("opacity") == "0.8"
    slider.fill("0.45")
    page.wait_for_load_state("networkidle")
    settle(page)
    picture(page, "overlay")
    page.get_by_role("checkbox", name="Tissue classes (AI)").uncheck()
    page.wait_for_selector(".rc-layer-masks image", state="detached")
    over_slide(page)
    for key, count in (("t", 1), ("q", 2), ("t", 1), ("q", 0)):
        page.keyboard.press(key)
        assert page.locator(".rc-layer-masks image").count() == count


def test_two_slides_move_in_step(page: Any, several: Server, picture: Any) -> None:
    open_page(page, several.place())
    page.wait_for_function("ruichat.page.strip.slides.length > 1")
    over_slide(page)
    page.keyboard.press("s")
    page.wait_for_function("ruichat.page.stage.pair.locked")
    apart = "(() => { const [a, b] = ruichat.page.stage.panes.map((pane) => pane.view.bounds0);"
    apart += " return [b.x + b.width / 2 - a.x - a.width / 2, b.width - a.width]; })()"
    settle(page)
    before, place = page.evaluate(apart), page.evaluate(f"{VIEW}.bounds0")
    drag(page, (0.6, 0.6), (0.4, 0.5))
    page.mouse.wheel(0, -300)
    settle(page)
    assert page.evaluate(f"{VIEW}.bounds0.width") < 0.9 * place["width"]
    after = page.evaluate(apart)
    assert all(abs(a - b) < 3 for a, b in zip(before, after, strict=True))
    picture(page, "pair")
    page.keyboard.press("Shift+S")
    drag(page, (0.5, 0.5), (0.3, 0.5))
    settle(page)
    assert abs(page.evaluate(apart)[0] - after[0]) > 20
    page.keyboard.press("s")
    page.wait_for_selector(".rc-pane >> nth=1", state="hidden")


def test_the_keys_are_shown(page: Any, server: Server) -> None:
    open_page(page, server.place())
    over_slide(page)
    page.keyboard.press("?")
    page.wait_for_selector(".rc-dialog kbd")
    shown = page.locator(".rc-dialog").inner_text()
    assert "Rectangle" in shown
    assert "Next, previous finding" in shown
    page.keyboard.press("Escape")
    page.wait_for_selector(".rc-dialog", state="detached")


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (390, 844)])
def test_everything_is_in_reach_in_a_small_window(
    page: Any, server: Server, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    open_page(page, server.place())
    outside = page.evaluate(
        """() => [...document.querySelectorAll('#rc-root :is(button, textarea)')]
            .filter((node) => node.checkVisibility() && !node.closest('.rc-suggestions'))
            .filter((node) => {
                const { left, right, top, bottom } = node.getBoundingClientRect();
                const sides = left < 0 || right > innerWidth || top < 0 || bottom > innerHeight;
                return sides && !node.closest('.rc-toolbar, .rc-messages');
            })
            .map((node) => node.outerHTML)"""
    )
    assert outside == []
    toolbar = page.locator(".rc-toolbar").bounding_box()
    assert toolbar["x"] + toolbar["width"] <= width
    canvas = page.locator(".rc-canvas").first.bounding_box()
    assert canvas["width"] * canvas["height"] > 0.3 * width * height


def test_overlays_that_come_late_stay_off_another_slide(page: Any, several: Server) -> None:
    open_page(page, several.place())
    first, second = slide_ids(page)[:2]
    page.wait_for_function("!ruichat.page.stage.overlays.boxes.classes.disabled")
    over_slide(page)
    page.keyboard.press("c")
    page.wait_for_selector(".rc-layer-masks image", state="attached")
    late: list[Any] = []
    page.route(f"**/slides/{second}/overlays", lambda route: late.append(route))
    step_to(page, second)
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert page.locator(".rc-layer-masks image").count() == 0
    step_to(page, first, "PageUp")
    page.wait_for_selector(".rc-layer-masks image", state="attached")
    assert late
    for route in late:
        route.continue_()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)
    images = page.locator(".rc-layer-masks image")
    assert images.count() == 1
    assert f"/slides/{first}/" in images.get_attribute("href")


def regions_of(server: Server, slide_id: str) -> set[str]:
    """Ids of a slide's drawn regions."""
    answer = httpx.get(f"{server.address}/api/v1/slides/{slide_id}/regions").json()
    return {region["id"] for region in answer["items"]}


def test_an_unfinished_polygon_stays_behind(page: Any, several: Server) -> None:
    open_page(page, several.place())
    second = slide_ids(page)[1]
    before = regions_of(several, second)
    settle(page)
    over_slide(page)
    page.keyboard.press("p")
    click_slide(page, (0.4, 0.4))
    click_slide(page, (0.6, 0.4))
    step_to(page, second)
    assert page.locator(".rc-layer-draft .rc-mark").count() == 0
    settle(page)
    click_slide(page, (0.5, 0.6))
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    assert page.evaluate("ruichat.page.stage.main.tools.points.length") == 1
    assert regions_of(several, second) == before


def test_a_slide_switched_in_the_middle_of_a_drag_is_not_drawn_on(
    page: Any, several: Server
) -> None:
    open_page(page, several.place())
    first, second = slide_ids(page)[:2]
    before = regions_of(several, first) | regions_of(several, second)
    settle(page)
    over_slide(page)
    page.keyboard.press("r")
    box = page.locator(".rc-canvas").first.bounding_box()
    place = [box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"]]
    page.mouse.move(*place)
    page.mouse.down()
    page.mouse.move(place[0] + 80, place[1] + 60, steps=4)
    page.keyboard.press("PageDown")
    page.mouse.move(place[0] + 160, place[1] + 120, steps=8)
    page.wait_for_function(f"{VIEW}.info?.id === '{second}'")
    page.mouse.move(place[0] + 200, place[1] + 120, steps=4)
    page.mouse.up()
    page.wait_for_timeout(500)
    assert regions_of(several, first) | regions_of(several, second) == before


def test_the_region_on_the_right_is_kept_for_the_question_and_deleted(
    page: Any, several: Server
) -> None:
    open_page(page, several.place())
    left, right = slide_ids(page)[:2]
    settle(page)
    before = regions_of(several, left), regions_of(several, right)
    over_slide(page)
    page.keyboard.press("r")
    drag(page, (0.3, 0.3), (0.5, 0.5))
    page.wait_for_selector(".rc-target .rc-tag button")
    page.keyboard.press("Escape")
    over_slide(page)
    page.keyboard.press("s")
    page.wait_for_function("ruichat.page.stage.pair.locked")
    settle(page)
    (drawn,) = regions_of(several, left) - before[0]
    over_slide(page)
    page.keyboard.press("r")
    drag(page, (0.4, 0.4), (0.6, 0.6), pane=1)
    page.wait_for_function(f"ruichat.page.chat.composer.region?.slide.id === '{right}'")
    page.evaluate("ruichat.page.strip.reload()")
    page.wait_for_timeout(200)
    assert page.locator(".rc-target .rc-tag button").count() == 1
    assert len(regions_of(several, right) - before[1]) == 1
    page.keyboard.press("Escape")
    click_slide(page, (0.5, 0.5), pane=1)
    page.keyboard.press("Escape")
    page.keyboard.press("Delete")
    page.wait_for_function("ruichat.page.chat.composer.region === null")
    assert regions_of(several, right) == before[1]
    assert drawn in regions_of(several, left)


def test_a_citation_of_a_slide_that_was_beside_flies_there(page: Any, several: Server) -> None:
    open_page(page, several.place())
    second = slide_ids(page)[1]
    over_slide(page)
    page.keyboard.press("s")
    page.wait_for_function("ruichat.page.stage.pair.locked")
    page.keyboard.press("s")
    page.wait_for_selector(".rc-pane >> nth=1", state="hidden")
    page.evaluate(
        """(slideId) => ruichat.page.chat.dispatchEvent(new CustomEvent("fly", {detail: {
            slideId, mark: null, box0: {x: 200, y: 200, width: 224, height: 224}}}))""",
        second,
    )
    page.wait_for_function(f"{VIEW}.info?.id === '{second}' && {VIEW}.bounds0.width < 1200")
    page.evaluate(
        """() => ruichat.page.chat.dispatchEvent(new CustomEvent("fly", {detail: {
            slideId: "removed", mark: null, box0: {x: 0, y: 0, width: 224, height: 224}}}))"""
    )
    page.get_by_text("isn't in the case any more").wait_for()


def test_slides_stay_in_step_however_quickly_others_are_chosen(page: Any, several: Server) -> None:
    open_page(page, several.place())
    ids = slide_ids(page)
    over_slide(page)
    page.keyboard.press("s")
    page.wait_for_function("ruichat.page.stage.pair.locked")
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    page.wait_for_function(f"{VIEW}.info?.id === '{ids[2]}'")
    page.wait_for_function("ruichat.page.stage.pair.locked")
    assert page.get_by_label("Move in step").get_attribute("aria-pressed") == "true"


def test_a_slide_is_shown_once_its_resolution_is_given(page: Any, server: Server) -> None:
    """The real slide, as if its file didn't state a resolution until somebody gives it."""
    info = f"**/slides/{server.slide_id}/info"
    page.route(info, lambda route: route.fulfill(json={"tile_px": None, "needs_mpp": True}))
    page.goto(server.place())
    page.get_by_text("The file doesn't state its resolution").wait_for()
    page.get_by_label("Switch to Chinese").click()
    assert "文件未注明分辨率" in page.locator(".rc-empty").first.inner_text()
    page.get_by_label("切换为英文").click()
    assert "doesn't state its resolution" in page.locator(".rc-empty").first.inner_text()
    page.unroute(info)

    def given(route: Any) -> None:
        told = route.fetch().json()
        told["items"][0] |= {"given_mpp": 0.3, "stain": "PAS"}
        route.fulfill(json=told)

    page.route("**/api/v1/cases/*/slides?*", given)
    page.evaluate("ruichat.page.strip.reload()")
    page.wait_for_function(f"{VIEW}.info?.num_levels > 0")
    assert "PAS" in page.locator(".rc-caption").first.inner_text()
    page.wait_for_load_state("networkidle")


def test_an_outline_that_is_refused_can_be_saved_later(refused: Any, server: Server) -> None:
    page, regions = refused, "**/api/v1/slides/*/regions"
    open_page(page, server.place())
    settle(page)
    before = regions_of(server, server.slide_id)
    page.route(regions, lambda route: route.fulfill(status=503, body="<h1>busy</h1>"))
    over_slide(page)
    page.keyboard.press("r")
    drag(page, (0.3, 0.3), (0.5, 0.5))
    page.get_by_text("The outline isn't saved, but still there").wait_for()
    assert page.locator(".rc-layer-draft .rc-mark").count() == 1
    page.unroute(regions)
    page.keyboard.press("Enter")
    page.wait_for_selector(".rc-target .rc-tag button")
    assert len(regions_of(server, server.slide_id) - before) == 1
    assert page.locator(".rc-layer-draft .rc-mark").count() == 0


def test_space_that_is_let_go_elsewhere_gives_the_tool_back(page: Any, server: Server) -> None:
    open_page(page, server.place())
    taken = "ruichat.page.stage.main.tools.tool"
    over_slide(page)
    page.keyboard.press("r")
    page.keyboard.down(" ")
    assert page.evaluate(taken) == "move"
    page.evaluate("dispatchEvent(new Event('blur'))")
    assert page.evaluate(taken) == "rectangle"


def test_the_address_remembers_the_left_slide_once_both_rest(page: Any, several: Server) -> None:
    open_page(page, several.place())
    over_slide(page)
    page.keyboard.press("s")
    page.wait_for_function("ruichat.page.stage.pair.locked")
    remembered(page)
    page.evaluate(
        """() => {
            window.remembered = 0;
            const replace = history.replaceState.bind(history);
            history.replaceState = (...given) => { window.remembered += 1; replace(...given); };
        }"""
    )
    before = page.evaluate("location.href")
    for _ in range(3):
        drag(page, (0.6, 0.6), (0.5, 0.55), pane=1)
    settle(page)
    page.wait_for_function("before => location.href !== before", arg=before)
    assert page.evaluate("window.remembered") <= 3


def test_a_slide_laid_beside_while_the_case_opens_stays(page: Any, several: Server) -> None:
    late: list[Any] = []
    info = f"**/slides/{several.slide_id}/info"
    page.route(info, lambda route: late.append(route))
    with page.expect_request(info):
        page.goto(several.place())
    page.wait_for_function("window.ruichat?.page?.opening")
    second = slide_ids(page)[1]
    page.keyboard.press("s")
    page.wait_for_function("ruichat.page.stage.beside.view.info !== null")
    for route in late:
        route.continue_()
    page.wait_for_function("!ruichat.page.opening && ruichat.page.stage.pair.locked")
    assert page.evaluate("ruichat.page.place.beside") == second
    page.keyboard.press("s")
    page.wait_for_selector(".rc-pane >> nth=1", state="hidden")


def test_tiles_that_fail_are_asked_for_again(refused: Any, server: Server) -> None:
    page, tiles = refused, "**/tiles/**"
    open_page(page, server.place())
    settle(page)
    is_sharp = f"""() => {{
        const image = {VIEW}.osd.world.getItemAt(0);
        return image.getTilesToDraw().flat().some(({{level}}) => level === image.source.maxLevel);
    }}"""

    def refuse() -> None:
        page.route(tiles, lambda route: route.fulfill(status=503, body="busy"))

    refuse()
    over_slide(page)
    page.keyboard.press("6")
    page.wait_for_timeout(600)
    assert not page.evaluate(is_sharp)
    page.unroute(tiles)
    page.wait_for_function(is_sharp)
    assert page.locator(".rc-notice").count() == 0
    remembered(page)
    refuse()
    reload(page)
    notice = page.locator(".rc-notice", has_text="Parts of a slide couldn't be loaded")
    notice.wait_for()
    page.unroute(tiles)
    assert not page.evaluate(is_sharp)
    notice.get_by_role("button", name="Try again").click()
    page.wait_for_function(is_sharp)
    assert notice.count() == 0


def test_a_lost_connection_takes_no_outline_away(refused: Any, server: Server) -> None:
    """Gradio loads the page anew once the server is there again."""
    page, asked = refused, []

    def stay(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    open_page(page, server.place())
    settle(page)
    over_slide(page)
    page.keyboard.press("p")
    click_slide(page, (0.4, 0.4))
    page.on("dialog", stay)
    page.route("**/queue/data?*", lambda route: route.abort())
    with page.expect_event("dialog"):
        page.get_by_label("New chat").click()
    page.wait_for_timeout(3000)
    assert asked == ["beforeunload"]
    assert page.evaluate("ruichat.page.stage.main.tools.points.length") == 1
    over_slide(page)
    page.keyboard.press("Escape")
    with page.expect_navigation():
        page.evaluate("location.reload()")
    assert asked == ["beforeunload"]
