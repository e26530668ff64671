"""The official OpenAI client against a real server on a free port, with `mini` behind it."""

from __future__ import annotations

import base64
import io
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import uvicorn
from drawn import draw_tissue
from fakes_chat import write_two_halves
from fakes_engine import until
from PIL import Image

from ruichat.features.mini.encoder import MiniEncoder
from ruichat.model.chat_model import Usage
from ruichat.serve.app import create_app
from ruichat.serve.services import Services, services_of_app
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import cases, slides, users


@dataclass(frozen=True)
class Live:
    """A server, two people's programs, and a slide of the first one's."""

    services: Services
    url: str
    ann: openai.OpenAI
    bo: openai.OpenAI
    slide_id: str

    def slide(self) -> dict[str, Any]:
        return {"type": "ruichat_slide", "slide_id": self.slide_id}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("glass")
    write_two_halves(folder / "halves.tif")
    settings = ServeSettings(
        data_dir=tmp_path_factory.mktemp("data"), slide_folders=(folder,), single_user=False
    )
    app = create_app(settings)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUICHAT_CACHE", str(tmp_path_factory.mktemp("cache")))
        thread.start()
        until(lambda: server.started)
        services, url = services_of_app(app), f"http://127.0.0.1:{port}/v1"
        with services.database.session() as session:
            people = [users.create_user(session, name=n, role="pathologist") for n in ("ann", "bo")]
            tokens = [users.create_token(session, p.id, name="t").token for p in people]
            case = cases.create_case(session, user_id=people[0].id, title="c")
            slide_id = slides.add_slide(
                session,
                user_id=people[0].id,
                case_id=case.id,
                name="s",
                root=folder.name,
                path="halves.tif",
            ).id
        ann, bo = (openai.OpenAI(base_url=url, api_key=t, max_retries=0) for t in tokens)
        yield Live(services, url, ann, bo, slide_id)
        server.should_exit = True
        thread.join(20)


def asked(*parts: dict[str, Any] | str) -> list[dict[str, Any]]:
    content = [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]
    return [{"role": "user", "content": content}]


def test_the_one_model_is_listed(live: Live) -> None:
    assert [model.id for model in live.ann.models.list()] == ["mini"]


def test_an_answer_about_a_slide_is_streamed(live: Live) -> None:
    stream = live.ann.chat.completions.create(
        model="mini",
        messages=asked(live.slide(), "Is there tumour?"),  # type: ignore[arg-type]
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = list(stream)
    words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    whole: dict[str, Any] = chunks[-1].model_extra["ruichat"]  # type: ignore[index]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert words == whole["text"] and whole["schema"] == "ruichat.answer/1"
    assert last.usage is not None and last.choices == []


def test_tokens_that_nobody_counted_are_not_told(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(**more: Any) -> Any:
        messages = asked(live.slide(), "Is there tumour?")
        return live.ann.chat.completions.create(model="mini", messages=messages, **more)  # type: ignore[call-overload]

    assert ask().usage is not None
    monkeypatch.setattr(Usage, "total", staticmethod(lambda _: None))
    assert ask().usage is None and "usage" not in ask().model_fields_set
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_a_second_turn_reuses_the_slide(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(messages: list[dict[str, Any]]) -> Any:
        return live.ann.chat.completions.create(model="mini", messages=messages)  # type: ignore[call-overload]

    first = asked(live.slide(), "What is the main tissue?")
    answer = ask(first)
    encoded: list[int] = []
    encode = MiniEncoder.encode
    monkeypatch.setattr(
        MiniEncoder, "encode", lambda self, t: encoded.append(len(t)) or encode(self, t)
    )
    opened: list[str] = []
    library = live.services.library
    monkeypatch.setattr(type(library), "open", lambda self, slide_id: opened.append(slide_id))
    turn = {"role": "assistant", "content": answer.choices[0].message.content}
    started = time.monotonic()
    second = ask([*first, turn, *asked("How much tissue is there?")])
    assert time.monotonic() - started < 5
    assert encoded == opened == []
    assert "mm²" in second.choices[0].message.content
    usage = second.usage
    if usage.completion_tokens:  # a question that the guard answers costs no tokens
        assert 0 < usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens


def test_a_region_is_asked_about(live: Live) -> None:
    points = [[60, 60], [760, 60], [760, 760], [60, 760]]
    region = {"type": "ruichat_region", "slide_id": live.slide_id, "points": points}
    answer: Any = live.ann.chat.completions.create(
        model="mini",
        messages=asked(region, "主要是什么组织？"),  # type: ignore[arg-type]
        extra_body={"ruichat": {"language": "zh"}},
    )
    assert answer.ruichat["drawn"]["area_mm2"] == 0.1225
    assert answer.ruichat["language"] == "zh"


def picture_url(kind: str = "png", side: int = 600) -> str:
    buffer = io.BytesIO()
    Image.fromarray(draw_tissue(side, side, margin=40)).save(buffer, kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_picture_is_asked_about(live: Live, kind: str) -> None:
    image = {"type": "image_url", "image_url": {"url": picture_url(kind), "mpp": 0.5}}
    answer: Any = live.bo.chat.completions.create(
        model="mini",
        messages=asked(image, "Is there tumour?"),  # type: ignore[arg-type]
    )
    assert answer.ruichat["slide"]["width0"] == 600
    assert answer.ruichat["slide"]["mpp_source"] == "user"


@pytest.mark.parametrize(
    ("messages", "status", "said"),
    [
        (asked("Is there tumour?"), 400, "about no slide"),
        (asked({"type": "image_url", "image_url": {"url": picture_url()}}, "?"), 400, "resolution"),
        (
            asked({"type": "image_url", "image_url": {"url": "http://evil/x.png", "mpp": 1}}, "?"),
            400,
            "url",
        ),
        (
            asked(
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,AAAA", "mpp": 1},
                },
                "Is there tumour?",
            ),
            400,
            "neither JPEG nor PNG",
        ),
        (asked({"type": "ruichat_slide", "slide_id": "f" * 32}, "?"), 404, "no such slide"),
        (asked({"type": "ruichat_slide", "slide_id": "../etc"}, "?"), 400, "slide_id"),
        ([{"role": "assistant", "content": "Yes."}], 400, "last message"),
    ],
)
def test_wrong_requests_are_refused_in_openais_form(
    live: Live, messages: list[dict[str, Any]], status: int, said: str
) -> None:
    with pytest.raises(openai.APIStatusError) as error:
        live.ann.chat.completions.create(model="mini", messages=messages)  # type: ignore[call-overload]
    assert error.value.status_code == status
    assert said in error.value.message
    assert set(error.value.body) == {"message", "type", "param", "code"}  # type: ignore[arg-type]


def test_a_short_answer_says_that_it_was_cut(live: Live) -> None:
    for stream in (False, True):
        answer: Any = live.ann.chat.completions.create(
            model="mini",
            messages=[
                {"role": "system", "content": "You are a pirate."},
                *asked(live.slide(), "Describe this slide."),  # type: ignore[list-item]
            ],
            max_completion_tokens=3,
            temperature=0,
            stream=stream,
        )
        last = list(answer)[-1] if stream else answer
        assert last.choices[0].finish_reason in ("length", "stop")
        written = last.ruichat["claims"] and not last.ruichat["abstained"]
        assert not written or last.choices[0].finish_reason == "length"
        assert last.ruichat["context"] == "unread"
    with pytest.raises(openai.BadRequestError) as error:
        live.ann.chat.completions.create(
            model="mini",
            messages=asked(live.slide(), "Is there tumour?"),  # type: ignore[arg-type]
            temperature=0.7,
        )
    assert error.value.param == "temperature"


def test_others_slides_and_other_models_are_not_there(live: Live) -> None:
    for client, model, slide in (
        (live.bo, "mini", live.slide()),
        (live.ann, "gpt", live.slide()),
    ):
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(
                model=model,
                messages=asked(slide, "Is there tumour?"),  # type: ignore[arg-type]
            )
    stranger = openai.OpenAI(base_url=live.url, api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_full_engine_says_when_to_come_back(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    from ruichat.serve.engine.requests import EngineFullError

    def full(ask: object) -> None:
        raise EngineFullError("64 questions wait", retry_after_s=7)

    monkeypatch.setattr(live.services.engine, "ask", full)
    with pytest.raises(openai.RateLimitError) as error:
        live.ann.chat.completions.create(
            model="mini",
            messages=asked(live.slide(), "Is there tumour?"),  # type: ignore[arg-type]
        )
    assert error.value.response.headers["Retry-After"] == "7"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_cancels_its_question(
    live: Live, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ruichat.chat.ask import SlideChat

    going = threading.Event()

    def endless(self: SlideChat, question: str, *, watch: Any = None) -> Iterator[str]:
        while not going.wait(0.01):
            watch()
        yield "Never said."

    monkeypatch.setattr(SlideChat, "ask", endless)
    engine = live.services.engine
    body = {
        "model": "mini",
        "messages": asked(live.slide(), "Is there tumour?"),
        "stream": stream,
    }
    headers = {"Authorization": f"Bearer {live.ann.api_key}"}
    try:
        with (
            httpx.Client(headers=headers, timeout=1.5) as client,
            pytest.raises(httpx.ReadTimeout),
            client.stream("POST", f"{live.url}/chat/completions", json=body) as response,
        ):
            for _ in response.iter_lines():
                pass
        since = time.monotonic()
        until(lambda: engine.status().num_answering == 0)
        assert time.monotonic() - since < 1
    finally:
        going.set()


def test_an_error_amid_a_stream_reaches_the_client(live: Live, tmp_path: Path) -> None:
    blank = io.BytesIO()
    Image.fromarray(np.full((600, 600, 3), 245, np.uint8)).save(blank, "png")
    url = "data:image/png;base64," + base64.b64encode(blank.getvalue()).decode()
    image = {"type": "image_url", "image_url": {"url": url, "mpp": 0.5}}
    stream = live.ann.chat.completions.create(
        model="mini",
        messages=asked(image, "Is there tumour?"),  # type: ignore[arg-type]
        stream=True,
    )
    with pytest.raises(openai.APIError, match="tissue"):
        list(stream)
