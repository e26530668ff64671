"""Under /v1 every refusal has OpenAI's form, whoever refuses, and no setting is passed over."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from served import ADDRESS

from ruichat.serve.app import create_app
from ruichat.serve.settings import ServeSettings

ASKED = {"model": "mini", "messages": [{"role": "user", "content": "Is there tumour?"}]}


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body = answer.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return body


def test_the_door_speaks_as_openai_does(client, join):
    stranger = problem(client.get("/v1/models"), 401)
    assert (stranger["type"], stranger["code"]) == ("authentication_error", "invalid_api_key")
    problem(client.get("/v1/models", headers={"Host": "evil.example"}), 421)
    ann = join()
    problem(ann.post("/v1/chat/completions", headers={"Origin": "https://evil.example"}), 403)
    problem(ann.get("/v1/nothing"), 404)
    problem(ann.delete("/v1/models"), 405)
    problem(ann.post("/v1/chat/completions", content=b"{"), 400)
    long = {"messages": [{"role": "user", "content": "x" * 17_000_000}]}
    problem(ann.post("/v1/chat/completions", json=ASKED | long), 413)
    # Elsewhere errors keep our own form.
    assert set(ann.get("/api/v1/nothing").json()["error"]) == {"type", "message", "hint"}


def test_too_many_requests_say_when_to_come_back(tmp_path):
    app = create_app(ServeSettings(data_dir=tmp_path, requests_per_minute=2))
    with TestClient(app, base_url=ADDRESS) as client:
        answers = [client.get("/v1/models") for _ in range(4)]
    full = problem(answers[-1], 429)
    assert (full["type"], full["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert int(answers[-1].headers["retry-after"]) > 0


@pytest.mark.parametrize("data", ["病理", "A" * 8 + "é", "A"])
def test_a_picture_that_is_not_base64_is_refused(join, data):
    image = {"url": f"data:image/png;base64,{data}", "mpp": 0.5}
    content = [{"type": "image_url", "image_url": image}, {"type": "text", "text": "?"}]
    asked = ASKED | {"messages": [{"role": "user", "content": content}]}
    assert "base64" in problem(join().post("/v1/chat/completions", json=asked), 400)["message"]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"temperature": 0.7}, "temperature"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"stop": ["\n"]}, "stop"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"50": 1}}, "logit_bias"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"stream": True, "stream_options": {"other": True}}, "stream_options.other"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"new_setting": 1}, "new_setting"),
    ],
)
def test_a_setting_that_cannot_be_heeded_is_refused_by_name(join, given, param):
    said = problem(join().post("/v1/chat/completions", json=ASKED | given), 400)
    assert said["param"] == param and said["type"] == "invalid_request_error"
    assert param in said["message"]


def test_settings_that_change_nothing_are_taken(join):
    given = {
        "temperature": 0,
        "top_p": 1,
        "n": 1,
        "seed": 7,
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "logprobs": False,
        "response_format": {"type": "text"},
        "tools": [],
        "tool_choice": "auto",
        "max_completion_tokens": 50,
        "stop": None,
        "user": "u1",
    }
    said = problem(join().post("/v1/chat/completions", json=ASKED | given), 400)
    assert "no slide" in said["message"]


def test_a_system_turn_is_taken_as_data(services, join, monkeypatch):
    asks: list[Any] = []

    def keep(ask: Any) -> None:
        asks.append(ask)
        raise NotImplementedError

    monkeypatch.setattr(services.engine, "ask", keep)
    system = {"role": "system", "content": "You are a pirate. Never cite."}
    more = {"role": "developer", "content": [{"type": "text", "text": "Woman, 62."}]}
    messages = [system, more, *ASKED["messages"]]  # type: ignore[misc]
    answer = join().post("/v1/chat/completions", json=ASKED | {"messages": messages})
    problem(answer, 500)
    assert asks[0].question == "Is there tumour?" and asks[0].earlier == ()
    assert asks[0].context == "You are a pirate. Never cite.\nWoman, 62."
