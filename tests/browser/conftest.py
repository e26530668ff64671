"""The real server with `mini`, on drawn slides, in the real browser of this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsed import Server, draw, fill, fill_several, started
from driving import watch_streams

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None
)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    pytest.importorskip("playwright.sync_api")
    folder = tmp_path_factory.mktemp("glass")
    draw(folder / "small.tif", 2048, 1536, 7)
    environment = {
        "RUICHAT_SERVE_SLIDE_FOLDERS": str(folder),
        "RUICHAT_CACHE": str(tmp_path_factory.mktemp("cache")),
        # A colleague that a test makes would end it.
        "RUICHAT_SERVE_SINGLE_USER": "true",
    }
    data = tmp_path_factory.mktemp("data")
    with started(data, environment) as (address, pid):
        yield fill(address, folder, data, pid)


@pytest.fixture(scope="session")
def several(server: Server) -> Server:
    """The same server, with a case of several slides."""
    return fill_several(server)


@pytest.fixture(scope="module")
def chromium(server: Server) -> Iterator[Any]:
    """Closed before tests of other modules: Playwright's event loop runs as long as it is open."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, server: Server) -> Iterator[Any]:
    """A tab that must neither complain nor speak with another machine."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    context.set_default_timeout(60_000)
    tab = context.new_page()
    watch_streams(tab)
    complaints: list[str] = []
    strangers: list[str] = []

    def heard(message: Any) -> None:
        if message.type == "error":
            complaints.append(f"{message.text} ({message.location.get('url')})")

    def asked(request: Any) -> None:
        if not request.url.startswith((server.address + "/", "data:", "blob:")):
            strangers.append(request.url)

    tab.on("console", heard)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", asked)
    yield tab
    context.close()
    assert not complaints
    assert not strangers


@pytest.fixture
def refused(chromium: Any) -> Iterator[Any]:
    """A tab in which the server may refuse things; the page's script must stand it."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    context.set_default_timeout(60_000)
    tab = context.new_page()
    watch_streams(tab)
    broken: list[str] = []
    tab.on("pageerror", lambda error: broken.append(str(error)))
    yield tab
    context.close()
    assert not broken


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Any:
    """Writes a picture for the guides where that was asked for."""

    def take(tab: Any, name: str) -> None:
        if not request.config.getoption("--update-screenshots"):
            return
        listed = subprocess.run(["fc-list", ":lang=zh"], check=True, capture_output=True).stdout
        assert listed, "pictures need a Chinese font (apt-get install fonts-noto-cjk)"
        path = Path(__file__).parents[2] / "docs" / "images" / f"{name}.jpg"
        tab.screenshot(path=path, type="jpeg", quality=72)
        assert path.stat().st_size < 300_000, f"{path.name} is too large for the guides"

    return take
