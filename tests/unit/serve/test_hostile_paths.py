"""Paths that want out of the allowed folders, over a real socket: no file outside is read."""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import uvicorn
from drawn import draw_tissue, write_pyramid
from fakes_engine import until

from ruichat.serve.app import create_app
from ruichat.serve.services import services_of_app
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import slides, users

CANARY = "c4nary-7f3a9"
"""Stands in every file that must not be read, and in no other."""

LONGEST_LINE = 60_000
"""Of a request, from which on the server may simply hang up."""

PLACES = (
    "/{}",
    "//{}",
    "/assets/web/{}",
    "/page/{}",
    "/page/assets/{}",
    "/page/static/{}",
    "/page/svelte/{}",
    "/page/file={}",
    "/page/file/{}",
    "/page/gradio_api/file={}",
    "/page/gradio_api/file/{}",
    "/page/gradio_api/proxy={}",
    "/page/gradio_api/stream/{}",
    "/page/gradio_api/component_server?path={}",
    "/page/custom_component/{}",
    "/page/theme.css?f={}",
    "/login?next={}",
    "/folders?query={}",
    "/docs/{}",
    "/slides/{}/info",
    "/slides/{}/tiles/0/0_0.jpg",
    "/slides/SLIDE/tiles/{}",
    "/slides/SLIDE/tiles/0/{}",
    "/slides/SLIDE/overlays/{}.png",
    "/slides/SLIDE/overlays/tissue.png?only={}",
    "/slides/SLIDE/{}",
    "/slides/SLIDE/thumbnail.jpg?max_px={}",
    "/api/v1/{}",
    "/api/v1/slides/{}",
    "/api/v1/slides/SLIDE/findings.geojson?x={}",
    "/api/v1/cases/{}/slides",
    "/api/v1/chats/{}/messages/{}/citations.geojson",
)
"""Where a path is put; SLIDE is a slide's id."""

SENT = (
    ("/cases/CASE/slides/from-folder", {"entry": "{}"}),
    ("/cases/CASE/slides/from-folder", {"entry": "0" * 32, "stain": "{}"}),
    ("/v1/chat/completions", {"model": "{}", "messages": [{"role": "user", "content": "{}"}]}),
    ("/page/gradio_api/queue/join", {"data": [{"path": "{}"}], "fn_index": 0, "session_hash": "t"}),
    ("/page/gradio_api/upload", {"files": "{}"}),
    (
        "/page/gradio_api/run/predict",
        {"data": [{"path": "{}", "meta": {"_type": "gradio.FileData"}}]},
    ),
)
"""Bodies that a path is put into."""

ENDS = (
    "",
    "",
    "",
    "%00",
    "%00.jpg",
    ".jpg",
    "/",
    "/.",
    "?",
    "#",
    ";x=1",
    "%20",
    "%0d%0a",
    "::$DATA",
)

STEPS = (
    "../",
    "..%2f",
    "%2e%2e/",
    "%2e%2e%2f",
    "%2E%2E%2F",
    "%252e%252e%252f",
    "..%252f",
    "..\\",
    "..%5c",
    "%2e%2e%5c",
    "....//",
    "..;/",
    ".%2e/",
    "..//",
    "./../",
    "%c0%ae%c0%ae%c0%af",
    "%e0%80%ae%e0%80%ae/",
    "%ef%bc%8e%ef%bc%8e%ef%bc%8f",
    "..%e2%88%95",
    "%uff0e%uff0e%u2215",
    "..%00/",
    "x/../../",
)
"""One folder up, as servers have been fooled by it."""


@dataclass(frozen=True)
class Target:
    """A running server and what lies about it."""

    address: tuple[str, int]
    top: Path
    case_id: str
    slide_ids: list[str]
    """One that is there, and some whose rows lead outside."""
    secrets: list[str]
    """Paths of files that hold the canary."""
    words: list[bytes]
    """What no answer may hold."""
    opened: list[str]
    """Which of these, or of the system's, were opened in this process."""

    def files(self) -> set[Path]:
        """All that lie about it, but the database's own and overlays that it made itself."""
        made = self.top / "data" / "overlays"
        found = {path for path in self.top.rglob("*") if path.is_file()}
        return {
            path
            for path in found
            if not path.name.startswith("ruichat.db") and not path.is_relative_to(made)
        }


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    top = tmp_path_factory.mktemp("hostile").resolve()
    data, glass, outside = top / "data", top / "glass", top / "outside"
    for folder in (data, glass, outside, outside / "deep"):
        folder.mkdir()
    picture = draw_tissue(300, 260, margin=20)
    write_pyramid(glass / "a.tif", picture, mpp=0.5)
    write_pyramid(outside / "secret.tif", picture, mpp=0.5)
    for secret in (top / "secret.txt", outside / "secret.txt", outside / "deep" / "secret.jpg"):
        secret.write_text(CANARY)
    (data / "secret.txt").write_text(CANARY)
    (glass / "link.tif").symlink_to(outside / "secret.tif")
    (glass / "folder").symlink_to(outside)
    secrets = [str(path) for path in (*top.rglob("secret.*"), *glass.glob("folder/secret.*"))]
    opened: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUICHAT_TEST_SECRET", CANARY)  # shows in /proc/self/environ of children
        patch.setenv("RUICHAT_CACHE", str(top / "cache"))
        app = create_app(
            ServeSettings(data_dir=data, slide_folders=(glass,), requests_per_minute=10_000_000)
        )
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        with services_of_app(app).database.session() as session:
            owner = users.list_users(session)[0].id
            case_id, slide_ids = add_rows(session, owner)
        key = (data / "folders.key").read_bytes()
        words = [CANARY.encode(), b"root:x:0", b"SQLite format 3\0", key, b"from __future__ import"]
        watch_openings(opened)
        yield Target(listening.getsockname(), top, case_id, slide_ids, secrets, words, opened)
        server.should_exit = True
        thread.join(20)


def add_rows(session, owner):
    """A case with a slide, and rows that somebody has tampered with."""
    from ruichat.storage.database import cases

    case_id = cases.create_case(session, user_id=owner, title="hostile").id
    ids = []
    for path in ("a.tif", "link.tif", "folder/secret.tif", "../outside/secret.tif", "/etc/passwd"):
        row = slides.add_slide(
            session, user_id=owner, case_id=case_id, name="s", root="glass", path="a.tif"
        )
        row.path = path
        ids.append(row.id)
    return case_id, ids


_WATCHED: list[list[str]] = []


def watch_openings(opened: list[str]) -> None:
    """Note from now on what is opened of the secrets; a hook of the interpreter stays for good."""
    if not _WATCHED:
        sys.addaudithook(_note_opening)
    _WATCHED[:] = [opened]


def _note_opening(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _WATCHED and isinstance(arguments[0], str | bytes):
        path = os.fsdecode(arguments[0])
        if "secret" in path or path == "/etc/passwd" or path.startswith("/proc/self/environ"):
            _WATCHED[0].append(path)


def spell(rng: random.Random, target: Target) -> str:
    """One hostile path."""
    wanted = rng.choice((*target.secrets, "/etc/passwd", "/proc/self/environ", __file__))
    way = rng.random()
    if way < 0.6:
        step = rng.choice(STEPS)
        relative = wanted.lstrip("/") if rng.random() < 0.7 else "/".join(wanted.split("/")[-2:])
        if "%" in step and rng.random() < 0.5:
            relative = relative.replace("/", rng.choice(("%2f", "%5c", "%252f")))
        path = step * rng.randrange(1, 12) + relative
    elif way < 0.8:
        path = rng.choice(("", "/", "//", "%2f", "%2F%2F", "/./", "file://", "file:%2f%2f", "~/"))
        path += rng.choice((wanted, quote(wanted, safe=""), quote(quote(wanted, safe=""))))
    elif way < 0.9:
        windows = wanted.replace("/", rng.choice(("\\", "%5c")))
        path = rng.choice(("C:", "\\\\localhost\\c$", "%5c%5c127.0.0.1%5cc$", "//?/C:")) + windows
    else:
        path = "a/../" * rng.choice((50, 800, 4000)) + "../" * 12 + wanted.lstrip("/")
    return path + rng.choice(ENDS)


def request(rng: random.Random, target: Target) -> bytes:
    """A hostile request, byte by byte."""
    path, slide = spell(rng, target), rng.choice(target.slide_ids)
    head = f"Host: 127.0.0.1:{target.address[1]}\r\nConnection: close\r\n"
    if rng.random() < 0.8:
        where = rng.choice(PLACES).replace("{}", path).replace("SLIDE", slide)
        method = rng.choice(("GET", "GET", "GET", "GET", "HEAD", "POST", "PUT"))
        return f"{method} {where} HTTP/1.1\r\n{head}Content-Length: 0\r\n\r\n".encode()
    if rng.random() < 0.3:
        where, kind = f"/cases/{target.case_id}/slides", "multipart/form-data; boundary=b"
        name = path.replace('"', "").replace("\r", "")
        body = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body += "no slide\r\n--b--\r\n"
    else:
        where, form = rng.choice(SENT)
        where, kind = where.replace("CASE", target.case_id), "application/json"
        body = json.dumps(form).replace("{}", json.dumps(path)[1:-1])
    data = body.encode()
    head += f"Content-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
    return f"POST {where} HTTP/1.1\r\n{head}\r\n".encode() + data


def answer(target: Target, sent: bytes) -> bytes:
    """All that comes back."""
    with socket.create_connection(target.address, timeout=60) as connection:
        connection.sendall(sent)
        parts = []
        try:
            while part := connection.recv(1 << 16):
                parts.append(part)
        except ConnectionResetError:
            pass  # what was sent wasn't read to its end
    return b"".join(parts)


@pytest.mark.parametrize("num", [400, pytest.param(10_000, marks=pytest.mark.proof)])
def test_no_file_outside_the_allowed_folders_is_read(target: Target, num: int) -> None:
    rng, statuses = random.Random(num), Counter[int]()
    before = target.files()
    for _ in range(num):
        sent = request(rng, target)
        got = answer(target, sent)
        line = sent.split(b"\r\n", 1)[0]
        assert got or len(line) > LONGEST_LINE, line[:300]
        status = int(got[9:12]) if got else 0
        statuses[status] += 1
        assert status < 500, (line[:300], got[:300])
        for words in target.words:
            assert words not in got, (line[:300], got[:300])
    assert target.opened == []
    assert target.files() == before
    assert sum(statuses.values()) == num and statuses[200] < num / 2, statuses
    print(f"\n{num} hostile requests: {dict(statuses)}")
