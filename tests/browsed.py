"""A running server with drawn slides, for tests that drive a browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

PATIENCE_S = 240.0
"""Longest wait for the server and for slides to be read, on a busy machine."""


@dataclass(frozen=True)
class Server:
    """A running server with a case of one slide that has been read.

    Attributes:
        address: of the server.
        folder: of slides that it may add.
        data: folder of its database.
        pid: of its process.
        case_id: holds `slide_id`.
    """

    address: str
    folder: Path
    data: Path
    pid: int
    case_id: str
    slide_id: str

    def place(self, **more: str) -> str:
        """Address of the page at the case and its slide."""
        fields = {"case": self.case_id, "slide": self.slide_id} | more
        fragment = "&".join(f"{key}={value}" for key, value in fields.items())
        return f"{self.address}/page/#{fragment}"


@contextmanager
def slowed(server: Server) -> Iterator[None]:
    """The server runs for a tenth of the time, as beside much else."""
    ended = threading.Event()

    def hold() -> None:
        while not ended.is_set():
            os.kill(server.pid, signal.SIGSTOP)
            ended.wait(0.045)
            os.kill(server.pid, signal.SIGCONT)
            ended.wait(0.005)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def started(data: Path, environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """A server on a free port; its address and its process's id."""
    command = [sys.executable, "-m", "ruichat", "serve", "--port", "0", "--data", str(data)]
    with subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://[^/\s]+", process.stdout.readline())
            assert found is not None, "the server didn't start"
            yield found.group(), process.pid
        finally:
            process.terminate()
            process.wait(timeout=30)


def draw(path: Path, width: int, height: int, seed: int) -> Path:
    """A drawn slide, by the command."""
    command = [sys.executable, "-m", "ruichat", "phantom", "draw", str(path)]
    command += ["--width", str(width), "--height", str(height), "--seed", str(seed)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    return path


def fill(address: str, folder: Path, data: Path, pid: int) -> Server:
    """A case with the drawn slide, once that has been read."""
    case = {
        "title": "S26-01482",
        "organ": "colorectum",
        "context": "Male, 64; mass of the sigmoid, biopsy",
    }
    case_id, slide_id = made(address, case, ["A1"])
    return Server(address, folder, data, pid, case_id, slide_id)


def fill_several(server: Server) -> Server:
    """A case with the drawn slide several times, as of one block, once all are read."""
    case = {"title": "S26-01517", "organ": "colorectum", "context": "Female, 58; screening"}
    case_id, slide_id = made(server.address, case, ["A1-1", "A1-2", "A1-3", "A1-4"])
    return replace(server, case_id=case_id, slide_id=slide_id)


def made(address: str, case: dict[str, str], blocks: list[str]) -> tuple[str, str]:
    """A case with the drawn slide once for each block; its id and the first slide's."""
    case_id = post(address, "/api/v1/cases", case)["id"]
    slides = [add(address, case_id, "small.tif", stain="HE", block=block) for block in blocks]
    for slide_id in slides:
        until_read(address, slide_id)
    return case_id, slides[0]


def post(address: str, path: str, body: dict[str, Any]) -> Any:
    """What the API answers."""
    answer = httpx.post(address + path, json=body, headers={"Origin": address}, timeout=PATIENCE_S)
    answer.raise_for_status()
    return answer.json()


def add(address: str, case_id: str, name: str, **words: str) -> str:
    """A slide of the folder in a case; its id."""
    deadline = time.monotonic() + PATIENCE_S
    entries: list[dict[str, str]] = []
    # A listing is believed for some seconds.
    while not entries and time.monotonic() < deadline:
        entries = httpx.get(f"{address}/folders", params={"query": name}).json()["entries"]
        time.sleep(0 if entries else 1)
    chosen = {"entry": entries[0]["id"]} | words
    return post(address, f"/cases/{case_id}/slides/from-folder", chosen)["id"]


def until_read(address: str, slide_id: str) -> None:
    """Wait until a slide has been read."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        slide = httpx.get(f"{address}/api/v1/slides/{slide_id}").json()
        if slide["state"] == "ready":
            return
        assert slide["state"] != "failed", slide["error"]
        time.sleep(0.5)
    raise AssertionError(f"slide not read in {PATIENCE_S} s: {slide}")
