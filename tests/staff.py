"""People at work on a server: they log in, look, ask, decide, send slides, and log out again."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import TOO_MANY_REQUESTS
from typing import Any

import httpx
from page_chat import ASK, LOOK, STOP, say, seen

QUESTIONS = (
    "Is there tumour on this slide, and where?",
    "Which tissues does this slide show?",
    "How large is the tissue area?",
    "切片上有肿瘤吗？在哪里？",
    "这张切片上有哪些组织？",
    "病人预后如何？",
)

PAUSE_S = 0.2
"""Between two things that a person does, on average."""

READ_S = 120.0
"""Longest wait for a slide that was sent."""

SQUARE = {"type": "Polygon", "coordinates": [[[9, 9], [900, 9], [900, 900], [9, 900], [9, 9]]]}


@dataclass
class Log:
    """What all of them did together; safe for threads, as each only adds.

    Attributes:
        done: how often, by what.
        statuses: of answers.
        wrong: answers with a status of 500 and above, and what else shouldn't be.
    """

    done: Counter[str] = field(default_factory=Counter[str])
    statuses: Counter[int] = field(default_factory=Counter[int])
    wrong: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Desk:
    """What a person works on.

    Attributes:
        address: of the server.
        name: to log in with.
        password: with it.
        case_id: a case of theirs, or one that is shared with them.
        slide_ids: the case's.
        glass: a slide file, which they send to cases of their own.
    """

    address: str
    name: str
    password: str
    case_id: str
    slide_ids: list[str]
    glass: bytes


class Person(threading.Thread):
    """Somebody who does one thing after the other, by chance, until told to stop.

    Args:
        desk: where.
        log: of all.
        resting: while it is set nobody begins anything.
        ending: ends the thread.
        seed: of the chances.
    """

    def __init__(
        self, desk: Desk, log: Log, *, resting: threading.Event, ending: threading.Event, seed: int
    ) -> None:
        super().__init__(name=desk.name, daemon=True)
        self.desk, self.log = desk, log
        self.is_resting = False
        self._resting, self._ending = resting, ending
        self._rng = random.Random(seed)
        self._http = self._browser()
        self._tab = os.urandom(6).hex()
        self._deeds: tuple[tuple[Callable[[], None], int], ...] = (
            (self.look_at_tiles, 8),
            (self.look_at_overlays, 2),
            (self.ask, 3),
            (self.ask_and_stop, 1),
            (self.ask_and_leave, 1),
            (self.ask_as_a_program, 2),
            (self.file_cases, 2),
            (self.decide_findings, 3),
            (self.exchange_geojson, 1),
            (self.send_a_slide, 1),
            (self.log_in_again, 1),
        )

    def run(self) -> None:
        deeds, weights = zip(*self._deeds, strict=True)
        self._do(self._enter)
        while not self._ending.is_set():
            if self._resting.is_set():
                self._rest()
                self._do(self._enter)
            (deed,) = self._rng.choices(deeds, weights)
            self._do(deed)
            time.sleep(self._rng.expovariate(1 / PAUSE_S))
        self._http.close()

    def _do(self, deed: Callable[[], None]) -> None:
        try:
            deed()
        except Exception as error:  # the others go on, and the test looks at the log
            self.log.wrong.append(f"{deed.__name__}: {error!r}"[:500])
        self.log.done[deed.__name__] += 1

    def _rest(self) -> None:
        """Close the browser until the others go on too."""
        self._http.close()
        self.is_resting = True
        while self._resting.is_set():
            time.sleep(0.1)
        self.is_resting = False
        self._http = self._browser()

    def look_at_tiles(self) -> None:
        self._tiles(self._slide(), 20)

    def look_at_overlays(self) -> None:
        slide = self._slide()
        for overlay in self._get(f"/slides/{slide}/overlays")["overlays"]:
            self._send("GET", f"/slides/{slide}/overlays/{overlay['name']}.png")

    def ask(self) -> None:
        """Asks, reads the answer, and says what they think of it."""
        last = self._follow(self._question())
        chat, answer = f"/api/v1/chats/{last['chat_id']}", last["messages"][-1]
        assert answer["role"] == "assistant" and answer["text"], answer
        message = f"{chat}/messages/{answer['id']}"
        thought = {"feedback": self._rng.choice((-1, 1)), "reason": "so"}
        self._send("PUT", f"{message}/feedback", json=thought)
        self._send("GET", f"{message}/citations.geojson")
        self._send("DELETE", chat)

    def ask_and_stop(self) -> None:
        def stop(shown: dict[str, Any]) -> bool:
            if shown["running"]:
                say(self._http, STOP, self._tab, {"chat_id": shown["chat_id"]}).raise_for_status()
            return False

        last = self._follow(self._question(), stop)
        assert not last["running"]
        self._get(f"/api/v1/chats/{last['chat_id']}/messages")

    def ask_and_leave(self) -> None:
        """Closes the tab while the answer is being written; another one finds the chat."""
        shown = self._follow(self._question(), lambda _: True)
        self._tab = os.urandom(6).hex()
        say(self._http, LOOK, self._tab, {"chat_id": shown["chat_id"]}).raise_for_status()
        for again in seen(self._http, self._tab):
            assert again["chat_id"] == shown["chat_id"]

    def ask_as_a_program(self) -> None:
        """Streams an answer, and half of the times doesn't wait for its end."""
        content = [
            {"type": "ruichat_slide", "slide_id": self._slide()},
            {"type": "text", "text": self._rng.choice(QUESTIONS)},
        ]
        body = {"model": "mini", "messages": [{"role": "user", "content": content}], "stream": True}
        stays = self._rng.random() < 0.5
        with self._http.stream("POST", "/v1/chat/completions", json=body) as stream:
            self._note(stream)
            for line in stream.iter_lines():
                assert '"error"' not in line, line
                if '"content"' in line and not stays:
                    return

    def file_cases(self) -> None:
        case = self._send("POST", "/api/v1/cases", json={"title": "S26-1"}).json()
        self._get("/api/v1/cases")
        self._send("PATCH", f"/api/v1/cases/{case['id']}", json={"context": "结肠活检"})
        self._send("DELETE", f"/api/v1/cases/{case['id']}")

    def decide_findings(self) -> None:
        slide = self._slide()
        new = {"geometry": SQUARE, "name": self.desk.name}
        made = self._send("POST", f"/api/v1/slides/{slide}/findings", json=new).json()
        where = f"/api/v1/findings/{made['id']}"
        for verb in ("accept", "undo", "reject"):
            seen_then = {"revision": made["revision"]}
            made = self._send("POST", f"{where}/{verb}", json=seen_then).json()
        self._get(f"/api/v1/slides/{slide}/findings")
        self._send("DELETE", where, params={"revision": made["revision"]})

    def exchange_geojson(self) -> None:
        """Takes findings out of one slide and puts them into another."""
        feature = {"type": "Feature", "geometry": SQUARE, "properties": {"name": "QuPath"}}
        sent = {"type": "FeatureCollection", "features": [feature] * 20}
        case = self._send("POST", "/api/v1/cases", json={"title": "exchange"}).json()
        slide = self._upload(case["id"])
        self._send("POST", f"/api/v1/slides/{slide}/findings.geojson", json=sent)
        found = self._get(f"/api/v1/slides/{slide}/findings.geojson")
        assert len(found["features"]) == 20
        self._send("DELETE", f"/api/v1/cases/{case['id']}")

    def send_a_slide(self) -> None:
        """Sends one, looks at it, asks about it, and removes it with its case."""
        case = self._send("POST", "/api/v1/cases", json={"title": "sent"}).json()
        slide, ends = self._upload(case["id"]), time.monotonic() + READ_S
        while self._get(f"/api/v1/slides/{slide}")["state"] != "ready":
            assert time.monotonic() < ends, "a slide that was sent isn't read"
            time.sleep(0.5)
        self._tiles(slide, 10)
        self._follow(self._question() | {"case_id": case["id"], "slide_ids": [slide]})
        self._send("DELETE", f"/api/v1/cases/{case['id']}")

    def log_in_again(self) -> None:
        self._send("POST", "/logout")
        self._enter()

    def _enter(self) -> None:
        form = {"name": self.desk.name, "password": self.desk.password}
        while (answer := self._http.post("/login", data=form)).status_code == TOO_MANY_REQUESTS:
            time.sleep(1)  # so many at once from one address look like somebody who guesses
        self._note(answer)
        self._tab = os.urandom(6).hex()
        self._http.headers["X-CSRF-Token"] = self._get("/api/v1/me")["csrf_token"]

    def _browser(self) -> httpx.Client:
        headers = {"Origin": self.desk.address}
        return httpx.Client(base_url=self.desk.address, headers=headers, timeout=120)

    def _slide(self) -> str:
        return self._rng.choice(self.desk.slide_ids)

    def _tiles(self, slide: str, num: int) -> None:
        info = self._get(f"/slides/{slide}/info")
        for _ in range(num):
            level = self._rng.randrange(info["num_levels"])
            shrunk = 1 << (info["num_levels"] - 1 - level)
            columns, rows = (
                -(-side // shrunk // info["tile_px"]) for side in (info["width0"], info["height0"])
            )
            column, row = self._rng.randrange(columns), self._rng.randrange(rows)
            self._send("GET", f"/slides/{slide}/tiles/{level}/{column}_{row}.jpg")

    def _question(self) -> dict[str, Any]:
        text = self._rng.choice(QUESTIONS)
        return {"case_id": self.desk.case_id, "slide_ids": [self._slide()], "text": text}

    def _follow(
        self, asked: dict[str, Any], leaves: Callable[[dict[str, Any]], bool] = lambda _: False
    ) -> dict[str, Any]:
        """Ask through the page; what is seen last, or when `leaves` says so."""
        self._note(say(self._http, ASK, self._tab, asked))
        shown: dict[str, Any] = {}
        for shown in seen(self._http, self._tab):
            assert "error" not in shown, shown["error"]
            if leaves(shown):
                break
        return shown

    def _upload(self, case_id: str) -> str:
        # Bytes behind the file's end make it another slide, which is read from its tiles again.
        sent = {"file": ("sent.tif", self.desk.glass + os.urandom(8), "image/tiff")}
        return self._send("POST", f"/cases/{case_id}/slides", files=sent).json()["id"]

    def _get(self, path: str) -> Any:
        return self._send("GET", path).json()

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        answer = self._http.request(method, path, **more)
        self._note(answer)
        return answer

    def _note(self, answer: httpx.Response) -> None:
        self.log.statuses[answer.status_code] += 1
        if answer.status_code >= 400:
            answer.read()
            what = f"{answer.request.method} {answer.url.path}"
            raise ValueError(f"{what}: {answer.status_code} {answer.text}")
