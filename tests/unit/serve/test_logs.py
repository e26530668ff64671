"""A day's work leaves nothing of patients and nothing secret in any log, however much is logged."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fakes_chat import ScriptedModel, make_backend, write_two_halves
from fastapi.testclient import TestClient
from house import write_jpeg_pyramid
from page_chat import ASK, LOOK, QUEUE, STOP, say, seen
from served import ADDRESS, SQUARE

from ruichat.chat.backend import Backend
from ruichat.serve.access.identity import COOKIE
from ruichat.serve.engine import engine as engine_module
from ruichat.serve.page.conversations import Conversations
from ruichat.serve.services import Services
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users
from ruichat.storage.database.connect import Database

MARK = "c4n4ry"
"""Within everything that must not be logged."""

PASSWORD = f"{MARK} correct horse"

ASKED, FAILS = f"Is there tumour, {MARK}?", f"Is there tumour, or {MARK}?"
"""The model stumbles over the second."""


THIS = {"chat_id": "0" * 32}


def answer(question: str) -> str:
    if FAILS in question:
        raise ZeroDivisionError(f"{MARK} {question}")
    return f"Carcinoma nests of {MARK} in [R1]."


def backend() -> Backend:
    return replace(make_backend(""), model=ScriptedModel(answer, thought=f"I think {MARK}."))


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    glass = tmp_path / f"{MARK} glass"
    glass.mkdir()
    return ServeSettings(
        data_dir=tmp_path / "data", slide_folders=(glass,), single_user=False, log_requests=True
    )


class Heard(logging.Handler):
    """Every record of every logger, as it would be written."""

    def __init__(self) -> None:
        super().__init__(1)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # The test's own side of the connection.
        if record.name.partition(".")[0] not in {"httpx", "httpx2", "httpcore"}:
            self.lines.append(self.format(record))


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    known = [one for one in logging.root.manager.loggerDict.values() if hasattr(one, "setLevel")]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        for logger in (logging.root, *known):
            assert isinstance(logger, logging.Logger)
            patch.setattr(logger, "disabled", False)
            patch.setattr(logger, "propagate", True)
            patch.setattr(logger, "level", 1 if logger is logging.root else logging.NOTSET)
        forget_levels()
        logging.root.addHandler(handler)
        logging.captureWarnings(True)
        warnings.simplefilter("always")
        yield handler
        logging.captureWarnings(False)
        logging.root.removeHandler(handler)
    forget_levels()


def forget_levels() -> None:
    """Loggers remember for which levels they are enabled; only setLevel makes them ask again."""
    logging.root.manager._clear_cache()  # type: ignore[attr-defined]


@dataclass
class Day:
    """What somebody does who has logged in."""

    http: Any
    database: Database
    glass: Path
    secrets: list[str]
    case_id: str = ""
    slide_id: str = ""

    def send(self, method: str, path: str, status: int, **more: Any) -> Any:
        told = self.http.request(method, path, **more)
        assert told.status_code == status, (method, path, told.status_code, told.text)
        return told

    def post(self, path: str, body: Any, status: int = 201) -> Any:
        return self.send("POST", path, status, json=body).json()

    def log_in(self) -> None:
        with self.database.session() as session:
            users.create_user(session, name=f"{MARK} li", role="pathologist", password=PASSWORD)
            users.create_user(session, name=f"{MARK} bo", role="pathologist")
        for name, password, status in (
            (f"{MARK} li", f"{MARK} wrong", 401),
            (f"{MARK} nobody", PASSWORD, 401),
            (f"{MARK} li", PASSWORD, 303),
        ):
            form = {"name": name, "password": password, "next": f"/{MARK}"}
            self.send("POST", "/login", status, data=form)
        me = self.send("GET", "/api/v1/me", 200).json()
        self.http.headers["X-CSRF-Token"] = me["csrf_token"]
        token = self.post("/api/v1/me/tokens", {"name": f"{MARK} scripts"})["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        self.send("GET", "/api/v1/cases", 200, headers=bearer)
        self.secrets += [self.http.cookies[COOKIE], me["csrf_token"], token]

    def open_case(self) -> None:
        fields = {"title": f"{MARK} Zhang", "organ": MARK, "context": f"{MARK}, male"}
        self.case_id = self.post("/api/v1/cases", fields)["id"]
        case = f"/api/v1/cases/{self.case_id}"
        self.send("PATCH", case, 200, json={"title": f"{MARK} Li"})
        self.post(f"{case}/members", {"name": f"{MARK} bo"})
        self.post(f"{case}/members", {"name": f"{MARK} who"}, 404)
        self.post("/api/v1/cases", {"title": [MARK], MARK: MARK}, 422)

    def send_slides(self) -> None:
        whole = write_two_halves(self.glass / f"{MARK} whole.tif")
        described = self.glass / f"{MARK} described.tif"
        write_jpeg_pyramid(described, description=f"patient {MARK}").read_bytes()
        data = described.read_bytes()
        path = f"/cases/{self.case_id}/slides"
        for name, content, status in (
            (f"{MARK} a.tif", data, 201),
            (f"{MARK} b.tif", data[: len(data) // 2], 422),
            (f"{MARK} c.svs", MARK.encode() * 99, 422),
            (f"{MARK} d.png", b"\x89PNG\r\n\x1a\n" + MARK.encode() * 99, 422),
            (f"{MARK} e.{MARK}", data, 422),
        ):
            self.send("POST", path, status, files={"file": (name, content)}, data={"stain": MARK})
        (self.glass / f"{MARK} broken.tif").write_bytes(data[:9000])
        listed = self.send("GET", f"/folders?anew=true&query={MARK}", 200).json()["entries"]
        for entry in listed:
            told = self.http.post(f"{path}/from-folder", json={"entry": entry["id"]})
            assert told.status_code == (422 if "broken" in entry["name"] else 201)
            if "whole" in entry["name"]:
                self.slide_id = told.json()["id"]
            if "described" in entry["name"]:
                described.write_bytes(data[: len(data) // 3])
                self.look_at(told.json()["id"])
                described.unlink()
                self.look_at(told.json()["id"])
        assert whole.exists() and self.slide_id

    def look_at(self, slide_id: str) -> None:
        """Whatever is left of it."""
        self.http.get(f"/slides/{slide_id}/info")
        for tile in range(8, 11):
            self.http.get(f"/slides/{slide_id}/tiles/{tile}/0_0.jpg?{MARK}={MARK}")
        self.http.get(f"/slides/{slide_id}/overlays/{MARK}.png")

    def find(self) -> None:
        slide = f"/api/v1/slides/{self.slide_id}"
        region = {"shape": "rectangle", "points": [[0, 0], [900, 900]], "name": f"{MARK} region"}
        self.post(f"{slide}/regions", region)
        words = {"name": MARK, "classification": MARK, "note": f"{MARK} note"}
        finding = self.post(f"{slide}/findings", words | {"geometry": SQUARE})
        decided = {"revision": finding["revision"], "note": f"{MARK} sure"}
        self.post(f"/api/v1/findings/{finding['id']}/accept", decided, 200)
        self.post(f"/api/v1/findings/{finding['id']}/accept", decided, 409)
        for wrong in ({"type": MARK}, [MARK], {"type": "FeatureCollection", "features": [MARK]}):
            self.post(f"{slide}/findings.geojson", wrong, 422)
        self.send("POST", f"{slide}/findings.geojson", 422, content=f'{{"{MARK}'.encode())

    def ask(self) -> None:
        told = ""
        for number, text in enumerate((ASKED, FAILS, f"{MARK} " + "x" * 5000)):
            asked = {"case_id": self.case_id, "slide_ids": [self.slide_id], "text": text}
            say(self.http, ASK, f"tab{number}", asked | {"think": True}).raise_for_status()
            chats = list(seen(self.http, f"tab{number}"))
            told += str(chats[-1])
            if number == 0:
                self.rate(chats[-1])
        assert f"Carcinoma nests of {MARK}" in told and "the answer failed" in told
        for what in (ASK, LOOK, STOP):
            say(self.http, what, f"wrong{what}", {MARK: MARK}).raise_for_status()
            *_, shown = seen(self.http, f"wrong{what}")
            assert "something else" in shown["error"]["message"]
        odd = {"data": [MARK, MARK], "fn_index": ASK, "session_hash": "odd", "event_data": MARK}
        self.post(f"{QUEUE}/join", odd, 200)
        assert [*seen(self.http, "odd")]
        self.post(f"{QUEUE}/join", odd | {"data": MARK}, 422)
        self.complete(ASKED, 200)
        self.complete(FAILS, 503)

    def rate(self, chat: dict[str, Any]) -> None:
        message = f"/api/v1/chats/{chat['chat_id']}/messages/{chat['messages'][-1]['id']}"
        thought = {"feedback": -1, "reason": f"{MARK} reason"}
        self.send("PUT", f"{message}/feedback", 200, json=thought)
        self.send("PATCH", f"/api/v1/chats/{chat['chat_id']}", 200, json={"title": MARK})
        self.post(f"{message}/findings", {})

    def complete(self, question: str, status: int) -> None:
        content = [
            {"type": "text", "text": question},
            {"type": "ruichat_slide", "slide_id": self.slide_id},
        ]
        body = {"model": "mini", "messages": [{"role": "user", "content": content}]}
        self.send("POST", "/v1/chat/completions", status, json=body)

    def meet_bugs(self) -> None:
        """Whatever the page asks for, something unexpected is raised over it."""

        def bug(*_: Any, **__: Any) -> None:
            raise ValueError(f"{MARK} bug")

        with pytest.MonkeyPatch.context() as patch:
            for name in ("ask", "watch", "stop"):
                patch.setattr(Conversations, name, bug)
            said = {"case_id": self.case_id, "slide_ids": [self.slide_id], "text": ASKED}
            for what, data in ((ASK, said), (LOOK, THIS), (STOP, THIS)):
                say(self.http, what, f"bug{what}", data).raise_for_status()
                *_, told = seen(self.http, f"bug{what}")
                assert told["error"]["message"] == "the server failed"

    def wander(self) -> None:
        """Addresses and headers that people mistype, with what they had on their minds."""
        for path in (f"/{MARK}", f"/api/v1/cases/{MARK}", f"/page/{MARK}", f"/slides/{MARK}/info"):
            self.http.get(path, params={MARK: MARK}, headers={"Accept": "text/html", MARK: MARK})
        self.http.get("/", headers={"Host": MARK})
        self.http.get("/", headers={"Authorization": f"Bearer {MARK}"})
        self.http.post("/login", data={"name": MARK}, headers={"Origin": f"http://{MARK}"})
        self.http.get("/login/oidc/callback", params={"code": MARK, "state": MARK})


def test_nothing_of_patients_and_no_secret_is_logged(
    client: TestClient,
    services: Services,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(engine_module, "load_model", lambda settings: backend())
    client.headers["Origin"] = ADDRESS
    day = Day(client, services.database, services.settings.slide_folders[0], [PASSWORD])
    for deed in (day.log_in, day.open_case, day.send_slides, day.find, day.ask, day.meet_bugs):
        deed()
    day.wander()
    day.send("DELETE", f"/api/v1/cases/{day.case_id}", 204)
    day.send("POST", "/logout", 303)
    services.engine.close()
    printed = "".join(capfd.readouterr())
    told = "\n".join([*heard.lines, printed])
    for heard_of in ("POST /login 303", "ZeroDivisionError", "INSERT INTO cases"):
        assert heard_of in told, "nothing was logged at all"
    words = [MARK, *day.secrets, str(services.settings.data_dir)]
    leaks = {line[:300] for line in told.splitlines() if any(word in line for word in words)}
    assert not leaks, "\n".join(leaks)
