"""The command as people run it: a process of its own, a real socket, a signal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

import httpx
import pytest
from house import write_jpeg_pyramid
from processes import family

from ruichat.cli.serve import listen
from ruichat.errors import PrerequisiteError

RUICHAT = (sys.executable, "-m", "ruichat")


@contextmanager
def served(data: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [*RUICHAT, "serve", "--port", "0", "--data", str(data), *options]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RUICHAT_SERVE_")}
    environment |= {"BROWSER": f"{sys.executable} {browser_of(data)} %s"}
    with (data / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1, env=environment
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, line
        yield found.group(), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def browser_of(data: Path) -> Path:
    """A browser that notes what it is to open."""
    script = data / "browser.py"
    note = data / "opened"
    script.write_text(f"import pathlib, sys; pathlib.Path({str(note)!r}).write_text(sys.argv[1])")
    return script


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.1)


def test_it_says_where_it_is_answers_and_stops_when_told(tmp_path):
    with served(tmp_path) as (address, process):
        assert process.stdout.readline().startswith("Single-user mode")
        assert httpx.get(f"{address}/health").json() == {"status": "ok"}
        assert httpx.get(f"{address}/health", headers={"Host": "evil.example"}).status_code == 421
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert (tmp_path / "ruichat.db").stat().st_mode & 0o077 == 0


def test_the_model_is_there_before_anybody_asks(tmp_path):
    with served(tmp_path) as (address, process):
        loading = httpx.get(f"{address}/ready")
        assert loading.status_code == 503 and "being loaded" in loading.json()["error"]["message"]
        until(lambda: httpx.get(f"{address}/ready").status_code == 200)
        assert httpx.get(f"{address}/api/v1/model").json()["state"] == "ready"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert (tmp_path / "log").read_text() == ""


def test_a_broken_model_is_told_and_slides_are_shown_all_the_same(tmp_path):
    slides, model = tmp_path / "slides", tmp_path / "model"
    slides.mkdir(), model.mkdir()
    options = ("--slides", str(slides), "--model", str(model), "--open")
    with served(tmp_path, *options) as (address, _):
        until(lambda: "the model can't be loaded" in (tmp_path / "log").read_text())
        ready = httpx.get(f"{address}/ready")
        assert ready.status_code == 503 and str(model) in ready.json()["error"]["message"]
        assert httpx.get(f"{address}/folders").json()["entries"] == []
        until((tmp_path / "opened").exists)
        assert (tmp_path / "opened").read_text() == address


def test_decoders_that_crash_cost_their_slide_and_nothing_else(tmp_path):
    glass, model = tmp_path / "glass", tmp_path / "no-model"
    glass.mkdir(), model.mkdir()
    write_jpeg_pyramid(glass / "bad.tif")
    write_jpeg_pyramid(glass / "good.tif")
    options = ("--slides", str(glass), "--model", str(model))
    with (
        served(tmp_path, *options) as (address, process),
        httpx.Client(base_url=address, timeout=60) as http,
    ):
        bad, good = add_slides(http, "glass/bad.tif", "glass/good.tif")
        tiles = cycle(f"/slides/{bad}/tiles/{level}/0_0.jpg" for level in range(10, -1, -1))
        with crashing_decoders(process.pid) as killed:
            said = next(told for path in tiles if (told := http.get(path)).status_code != 200)
        assert said.status_code == 422 and said.json()["error"]["hint"], said.text
        assert "decoder" in said.json()["error"]["message"] and len(killed) >= 2
        assert http.get(f"/slides/{bad}/info").json()["state"] == "failed"
        assert http.get(f"/slides/{good}/tiles/9/0_0.jpg").status_code == 200
        assert process.poll() is None


def add_slides(http: httpx.Client, *names: str) -> list[str]:
    """Slides of the allowed folder in a new case; their ids."""
    case = http.post("/api/v1/cases", json={"title": "S26-1"}).json()["id"]
    entries = {entry["name"]: entry["id"] for entry in http.get("/folders").json()["entries"]}
    bodies = [{"entry": entries[name]} for name in names]
    return [http.post(f"/cases/{case}/slides/from-folder", json=b).json()["id"] for b in bodies]


@contextmanager
def crashing_decoders(pid: int) -> Iterator[list[int]]:
    """A server's processes that decode slides crash soon after they have begun; their ids."""
    killed, ending = [], threading.Event()

    def kill():
        while not ending.wait(0.002):
            for child in family(pid):
                with suppress(FileNotFoundError, ProcessLookupError):
                    if b"sandbox_worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                        os.kill(child, signal.SIGSEGV)
                        killed.append(child)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ending.set()
        thread.join()


def test_with_a_user_it_asks_for_a_login(tmp_path):
    added = subprocess.run(
        [*RUICHAT, "users", "add", "li", "--data", str(tmp_path)],
        input="correct horse battery\n",
        capture_output=True,
        text=True,
    )
    assert added.returncode == 0, added.stderr
    with served(tmp_path) as (address, process):
        assert "Single-user" not in process.stdout.readline()
        assert httpx.get(f"{address}/nothing").status_code == 401


def test_an_address_in_use_is_told(tmp_path):
    taken = listen("127.0.0.1", 0)
    with taken, pytest.raises(PrerequisiteError, match="can't listen"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_small_answers_leave_at_once():
    with listen("127.0.0.1", 0) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with client, accepted:
            # What asyncio looks at before it sets TCP_NODELAY.
            assert accepted.proto == socket.IPPROTO_TCP
