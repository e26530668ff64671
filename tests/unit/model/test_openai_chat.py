"""Servers that answer well, slowly, wrongly or not at all, over real connections."""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn import draw_tissue, write_pyramid
from fakes_server import FakeServer, Handler, Reply, in_turn, refuses, says, serve, sleeps
from PIL import Image

from ruichat.errors import ConfigError, ModelError, PrerequisiteError
from ruichat.model.chat_model import ChatModel, ChatSession, Piece, SlideContext, Usage
from ruichat.model.openai_chat import OpenAiChatModel, plain
from ruichat.model.openai_http import KEY_VARIABLE, MAX_TRIES, Endpoint
from ruichat.model.pictures import Picture, PictureConfig, SlidePictures
from ruichat.model.regions import split_regions
from ruichat.slide.opening import open_slide
from ruichat.units import Region0

pytest.importorskip("httpx")


class Bag:
    base_mpp = 0.5


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlideContext]:
    path = tmp_path_factory.mktemp("s") / "patient-name.tif"
    write_pyramid(path, draw_tissue(500, 300, margin=20), mpp=0.5)
    xy0 = np.array([[0, 0], [224, 0]], np.int64)
    regions = split_regions(xy0, 224, 0.5, (500, 300), max_regions=2)
    small = PictureConfig(overview_px=64, region_px=48)
    with open_slide(path) as slide:
        pictures = SlidePictures(slide, regions, xy0, 224, small)
        yield SlideContext(Bag(), regions, "0.1 mm2", pictures)  # type: ignore[arg-type]


def connect(fake: FakeServer, **settings: Any) -> OpenAiChatModel:
    endpoint = Endpoint.of(fake.url, allow_remote=False, timeout_s=5.0)
    return OpenAiChatModel.connect(
        "openai:vision", replace(endpoint, first_pause_s=0.01, **settings)
    )


def ask(fake: FakeServer, context: SlideContext | None, **settings: Any) -> list[Piece]:
    session = connect(fake, **settings).open(context)
    return list(session.stream("Is there tumour?", max_tokens=20))


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if not piece.thought)


def test_an_answer_is_streamed_with_its_regions(context: SlideContext) -> None:
    with serve(says("Yes, ", "in region ", "2", " and R9.")) as fake:
        model = connect(fake)
        session = model.open(context)
        assert isinstance(model, ChatModel) and isinstance(session, ChatSession)
        pieces = list(session.stream("Is there tumour?"))
    assert text_of(pieces) == "Yes, in [R2] and [R9]."
    assert [(p.text, p.region) for p in pieces if p.text[0] == "["] == [("[R2]", 1), ("[R9]", None)]
    assert next(p.logprob for p in pieces) == -0.25


def test_what_is_sent_is_pictures_and_words_and_nothing_of_the_file(context: SlideContext) -> None:
    with serve(says("Yes.")) as fake:
        ask(fake, context)
    (body,) = fake.requests
    (message,) = body["messages"]
    images = [part["image_url"]["url"] for part in message["content"] if "image_url" in part]
    assert len(images) == 3
    for url in images:
        head, _, data = url.partition(",")
        assert head == "data:image/jpeg;base64"
        assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) <= 64
    assert (body["model"], body["stream"], body["temperature"]) == ("vision", True, 0)
    assert "patient-name" not in json.dumps(body)


def test_a_picture_of_no_slide_is_sent_alone() -> None:
    rgb = np.full((20, 30, 3), 9, np.uint8)
    picture = Picture("picture", rgb, float("nan"), Region0(0, 0, 30, 20))
    with serve(says("Yes.")) as fake:
        text_of(list(connect(fake).look_at(picture).stream("Is it red?")))
    (message,) = fake.requests[0]["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    assert message["content"][1]["text"].strip() == "Is it red?"


def test_turns_follow_each_other_and_forks_part(context: SlideContext) -> None:
    with serve(says("Yes [R1].")) as fake:
        session = connect(fake).open(context)
        list(session.stream("Is there tumour?"))
        fork = session.fork()
        list(fork.stream("And where?"))
        list(session.stream("And fat?"))
    roles = [[m["role"] for m in body["messages"]] for body in fake.requests]
    assert roles == [["user"], ["user", "assistant", "user"], ["user", "assistant", "user"]]
    assert fake.requests[1]["messages"][1]["content"] == "Yes [R1]."
    assert [len(m["content"]) for m in fake.requests[2]["messages"][::2]][-1] == 1


def test_closing_an_answer_closes_the_connection(context: SlideContext) -> None:
    def forever(handler: Handler, body: dict[str, Any]) -> None:
        handler.begin()
        for _ in range(10_000):
            handler.word("tissue ")
            time.sleep(0.002)

    with serve(forever) as fake:
        pieces = connect(fake).open(context).stream("Is there tumour?")
        next(pieces)
        pieces.close()
        until = time.monotonic() + 5
        while not fake.closed_early and time.monotonic() < until:
            time.sleep(0.01)
        assert fake.closed_early == 1


def test_a_server_that_never_stops_is_cut_off(context: SlideContext) -> None:
    def forever(handler: Handler, body: dict[str, Any]) -> None:
        handler.begin()
        for _ in range(10_000):
            handler.word("tissue " * 10)

    with serve(forever) as fake:
        assert len(text_of(ask(fake, context))) <= 20 * 16


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_by_itself_is_tried_again(status: int, context: SlideContext) -> None:
    with serve(in_turn(refuses(status, "busy"), says("Yes."))) as fake:
        assert text_of(ask(fake, context)) == "Yes."
        assert len(fake.requests) == 2
    with serve(refuses(status, "busy")) as fake:
        with pytest.raises(ModelError, match=f"busy or failing \\({status}: busy\\)"):
            ask(fake, context)
        assert len(fake.requests) == MAX_TRIES


def test_the_server_may_ask_for_a_pause(context: SlideContext) -> None:
    with serve(in_turn(refuses(429, "slow down", Retry_After="0.3"), says("Yes."))) as fake:
        started = time.monotonic()
        ask(fake, context)
        assert time.monotonic() - started > 0.3


def test_settings_that_a_server_refuses_are_left_out(context: SlideContext) -> None:
    replies = (
        refuses(400, "logprobs is not supported"),
        refuses(400, "Unsupported parameter: 'max_tokens', use max_completion_tokens"),
        says("Yes."),
    )
    with serve(in_turn(*replies)) as fake:
        session = connect(fake).open(context)
        pieces = list(session.stream("Is there tumour?"))
        list(session.stream("Is there fat?"))
    assert text_of(pieces) == "Yes." and math.isnan(pieces[0].logprob)
    assert len(fake.requests) == 4, "learnt once"
    assert "logprobs" not in fake.requests[-1]
    assert fake.requests[-1]["max_completion_tokens"] == 160


def breaks_off(handler: Handler, body: dict[str, Any]) -> None:
    handler.begin()
    handler.word("Yes, ")
    handler.drop()


def ends_without_end(handler: Handler, body: dict[str, Any]) -> None:
    handler.begin()
    handler.word("Yes, ")
    handler.wfile.write(b"0\r\n\r\n")


def sends(content: bytes) -> Reply:
    def reply(handler: Handler, body: dict[str, Any]) -> None:
        handler.begin()
        handler.chunk(content)
        handler.end()

    return reply


def stalls(handler: Handler, body: dict[str, Any]) -> None:
    handler.begin()
    handler.word("Yes, ")
    time.sleep(1.0)


def drips(handler: Handler, body: dict[str, Any]) -> None:
    handler.begin()
    for _ in range(100):
        handler.chunk(b": still here\n")
        time.sleep(0.02)


BAD: dict[str, tuple[Reply, str]] = {
    "breaks off": (breaks_off, "broke off"),
    "ends without an end": (ends_without_end, "complete"),
    "broken JSON": (sends(b"data: {nonsense\n\n"), "no answer"),
    "other JSON": (sends(b'data: ["hello"]\n\n'), "no answer"),
    "deep JSON": (sends(b"data: " + b"[" * 100_000 + b"\n\n"), "no answer"),
    "error inside": (sends(b'data: {"error": {"message": "out of memory"}}\n\n'), "out of memory"),
    "endless line": (sends(b"data: " + b"a" * 2_000_000), "bytes at once"),
    "stalls": (stalls, "silent for 0.4 s"),
    "drips": (drips, "took longer than 0.5 s"),
    "a page": (lambda h, _: h.send(200, b"<html>", kind="text/html"), "no answer"),
    "refusal": (refuses(400, "no pictures, please"), "no pictures, please"),
    "redirect": (lambda h, _: h.send(302, b"", Location="http://example.org/v1"), "refuses"),
    "nothing there": (refuses(404, "not found"), "no such service"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_answer_is_an_error_with_a_remedy(name: str, context: SlideContext) -> None:
    reply, said = BAD[name]
    with serve(reply) as fake, pytest.raises(ModelError, match=said) as caught:
        ask(fake, context, timeout_s=0.4, deadline_s=0.5)
    assert caught.value.hint and "127.0.0.1" in caught.value.message


def test_slow_answers_are_waited_for(context: SlideContext) -> None:
    with serve(sleeps(0.3)) as fake:
        assert text_of(ask(fake, context)) == "late"


def test_a_server_that_does_not_stream_answers_at_once(context: SlideContext) -> None:
    whole = {"choices": [{"message": {"content": "Yes [R1]."}, "finish_reason": "stop"}]}
    with serve(lambda h, _: h.send(200, json.dumps(whole).encode())) as fake:
        assert text_of(ask(fake, context)) == "Yes [R1]."


def test_odd_events_are_no_words(context: SlideContext) -> None:
    def reply(handler: Handler, body: dict[str, Any]) -> None:
        handler.begin()
        handler.event({"choices": []})
        handler.event({"choices": [{"delta": {"reasoning_content": "hm, R1"}}]})
        handler.event({"choices": [{"delta": {"content": None}}]})
        handler.event({"choices": [{"delta": {"content": "Yes"}, "logprobs": {"content": [1]}}]})
        handler.event({"choices": [{"delta": {"content": "!"}, "logprobs": "odd"}]})
        handler.end()

    with serve(reply) as fake:
        pieces = ask(fake, context)
    assert text_of(pieces) == "Yes!"
    assert [piece.text for piece in pieces if piece.thought] == ["hm, R1"]


def test_nobody_there() -> None:
    with serve(says("Yes.")) as fake:
        url = fake.url
    endpoint = replace(Endpoint.of(url, allow_remote=False, timeout_s=1.0), first_pause_s=0.01)
    with pytest.raises(ModelError, match="can't be reached") as caught:
        OpenAiChatModel.connect("openai:vision", endpoint)
    assert "--base-url" in caught.value.hint


def test_a_model_that_is_not_served_is_named_with_those_that_are() -> None:
    with serve(says("Yes."), models=["medgemma-1.5-4b-it", "qwen3"]) as fake:
        endpoint = Endpoint.of(fake.url, allow_remote=False, timeout_s=5.0)
        with pytest.raises(ConfigError, match="serves no model 'medgemma'") as caught:
            OpenAiChatModel.connect("openai:medgemma", endpoint)
        assert "medgemma-1.5-4b-it" in caught.value.hint
    with serve(says("Yes."), models=None) as fake:
        assert connect(fake).name == "vision", "a server without a list is believed"


SECRET = "sk-very-secret"


def test_the_key_comes_from_the_environment_and_shows_nowhere(
    context: SlideContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    caplog.set_level(logging.DEBUG)
    with serve(in_turn(refuses(500, "busy"), says("Yes."))) as fake:
        model = connect(fake)
        list(model.open(context).stream("Is there tumour?"))
        assert all(h["Authorization"] == f"Bearer {SECRET}" for h in fake.headers)
    assert SECRET not in caplog.text and SECRET not in repr(model) + repr(model.server.endpoint)
    with serve(refuses(401, "wrong key")) as fake:
        with pytest.raises(PrerequisiteError, match="refuses the key") as caught:
            ask(fake, context)
        assert KEY_VARIABLE in caught.value.hint and SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.8.8.8/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://192.168.0.7:8000/v1", False),
        ("https://localhost.example.org/v1", False),
        ("https://api.example.org/v1", False),
        ("http://0.0.0.0:8000/v1", False),
    ],
)
def test_another_machine_needs_leave(url: str, local: bool) -> None:
    endpoint = Endpoint.of(url, allow_remote=True, timeout_s=1.0)
    assert endpoint.is_local is local
    if not local:
        with pytest.raises(ConfigError, match="would leave this one") as caught:
            Endpoint.of(url, allow_remote=False, timeout_s=1.0)
        assert "--allow-remote" in caught.value.hint


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://localhost/v1", "http://", "http://me:secret@localhost/v1"]
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="not usable") as caught:
        Endpoint.of(url, allow_remote=True, timeout_s=1.0)
    assert "secret" not in str(caught.value)


def test_the_server_may_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUICHAT_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match="no server") as caught:
        Endpoint.of(None, allow_remote=False, timeout_s=1.0)
    assert "RUICHAT_BASE_URL" in caught.value.hint
    monkeypatch.setenv("RUICHAT_BASE_URL", "http://localhost:1/v1/")
    assert Endpoint.of(None, allow_remote=False, timeout_s=1.0).base_url == "http://localhost:1/v1"


def test_a_proxy_sees_nothing_that_is_meant_for_this_machine(
    context: SlideContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with serve(says("Yes.")) as fake:
        assert text_of(ask(fake, context)) == "Yes."


def test_only_the_first_question_tells_of_the_case(context: SlideContext) -> None:
    with serve(says("Yes [R1].")) as fake:
        session = connect(fake).open(context)
        session.know("> Woman, 62.")
        for question in ("Is there tumour?", "Is there fat?"):
            list(session.stream(question))
            session = session.fork()
    sent = json.dumps(fake.requests[-1])
    assert sent.count("> Woman, 62.") == 1


def test_an_answer_that_is_cut_off_says_so(context: SlideContext) -> None:
    def cut(handler: Any, body: dict[str, Any]) -> None:
        handler.begin()
        handler.word("Yes, and")
        handler.word("", None, "length")
        handler.end()

    with serve(in_turn(cut, says("No."))) as fake:
        session = connect(fake).open(context)
        list(session.stream("Is there tumour?"))
        assert session.was_cut
        list(session.stream("Is there fat?"))
        assert not session.was_cut


def counts(*events: dict[str, Any]) -> Reply:
    def reply(handler: Handler, body: dict[str, Any]) -> None:
        handler.begin()
        handler.word("Yes.", None, "stop")
        for event in events:
            handler.event({"choices": []} | event)
        handler.end()

    return reply


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 812, "completion_tokens": 3, "total_tokens": 815}, Usage(812, None, 3)),
        (None, None),
        ({"prompt_tokens": 812}, None),
        ({"prompt_tokens": "many", "completion_tokens": -3}, None),
        ([812, 3], None),
    ],
)
def test_tokens_are_those_that_the_server_counts(
    context: SlideContext, told: Any, usage: Usage | None
) -> None:
    with serve(in_turn(counts({"usage": told}), says("No."))) as fake:
        session = connect(fake).open(context)
        list(session.stream("Is there tumour?"))
        assert session.usage == usage
        list(session.stream("Is there fat?"))
        assert session.usage is None
    assert fake.requests[0]["stream_options"] == {"include_usage": True}


def test_a_server_that_counts_nothing_is_asked_no_more(context: SlideContext) -> None:
    with serve(in_turn(refuses(400, "unknown field: stream_options"), says("Yes."))) as fake:
        assert text_of(ask(fake, context)) == "Yes."
    assert "stream_options" not in fake.requests[-1]


def test_markers_in_a_question_are_broken_up() -> None:
    hostile = "<|im_end|> <start_of_turn> [INST] </s> <image> <unused94> a < b, <5 mm> kept"
    broken = plain(hostile)
    for marker in ("<|im_end|>", "<start_of_turn>", "[INST]", "</s>", "<image>", "<unused94>"):
        assert marker not in broken
    assert "a < b, <5 mm> kept" in broken


def test_a_server_is_told_whether_to_think(context: SlideContext) -> None:
    with serve(says("<think>hm</think>Yes.")) as fake:
        session = connect(fake).open(context)
        assert text_of(list(session.stream("tumour?", max_tokens=9, think=True))) == "Yes."
        list(session.stream("tumour?", max_tokens=9, think=False))
    told = [body["chat_template_kwargs"]["enable_thinking"] for body in fake.requests]
    assert told == [True, False]
    assert fake.requests[0]["max_tokens"] > fake.requests[1]["max_tokens"] == 9
    assert fake.requests[1]["messages"][1]["content"] == "Yes."


def test_given_answers_cannot_be_scored(context: SlideContext) -> None:
    with serve(says("Yes.")) as fake, pytest.raises(ModelError, match="can't score"):
        connect(fake).open(context).score("Is there tumour?", ["Yes"])
