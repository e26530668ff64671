"""Talks to an OpenAI-compatible server: streamed answers, retries, and errors with remedies."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import random
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

from ruichat.errors import ConfigError, ModelError, PrerequisiteError, SlowModelError
from ruichat.model.chat_model import Usage
from ruichat.registry import require

log = logging.getLogger(__name__)

BASE_URL_VARIABLE = "RUICHAT_BASE_URL"
KEY_VARIABLE = "RUICHAT_API_KEY"
"""The only place that a key is read from; it is sent to the given server and nowhere else."""

MAX_TRIES = 4
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 20.0
"""Of pauses between tries, each twice as long as the one before."""

CONNECT_S = 10.0
MAX_EVENT_BYTES = 1_000_000
"""No piece of an answer is so long: a server that sends one is broken or hostile."""

_DONE = b"[DONE]"
"""What ends a stream."""

_BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""States that pass by themselves."""

_OPTIONAL = ("logprobs", "temperature", "max_tokens", "chat_template_kwargs", "stream_options")
"""Settings that some servers refuse; without them the answer is still one."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server is and how long it may take.

    Attributes:
        base_url: up to and with the version, "http://localhost:8000/v1".
        key: sent as a bearer token if not empty; never shown, logged or written.
        timeout_s: longest silence while it answers.
        deadline_s: longest whole answer.
        first_pause_s: before a second try.
    """

    base_url: str
    key: str = field(default="", repr=False)
    timeout_s: float = 120.0
    deadline_s: float = 900.0
    first_pause_s: float = FIRST_PAUSE_S

    @classmethod
    def of(cls, base_url: str | None, *, allow_remote: bool, timeout_s: float) -> Endpoint:
        """The server that a user names, here or in the environment.

        Raises:
            ConfigError: none is named, it is no address, or it is another machine and
                `allow_remote` isn't given.
        """
        url = (base_url or os.environ.get(BASE_URL_VARIABLE, "")).strip().rstrip("/")
        if not url:
            raise ConfigError(
                "no server is named",
                hint=f"Give --base-url http://localhost:8000/v1, or set {BASE_URL_VARIABLE}",
            )
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigError(
                f"the server's address {_masked(url)!r} is not usable",
                hint="Write http://host:port/v1, without a user name or password",
            )
        endpoint = cls(url, os.environ.get(KEY_VARIABLE, "").strip(), timeout_s)
        if not endpoint.is_local and not allow_remote:
            raise ConfigError(
                f"{parts.hostname} is another machine: pictures of the slide would leave this one",
                hint="Give --allow-remote if they may, or use a server on this machine",
            )
        return endpoint

    @property
    def host(self) -> str:
        """Name of the machine."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_local(self) -> bool:
        """Whether it is this machine; a name other than localhost never counts as such."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_encrypted(self) -> bool:
        """Whether others on the network can't read along."""
        return self.base_url.startswith("https://")


@dataclass(frozen=True, slots=True)
class Heard:
    """One event of an answer.

    Attributes:
        choice: the first of its choices; empty where it has none.
        usage: tokens of the whole answer, where the server counts them.
    """

    choice: dict[str, Any]
    usage: Usage | None = None


class Server:
    """Requests to one endpoint.

    Args:
        endpoint: where it is.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._refused: set[str] = set()

    def models(self) -> list[str] | None:
        """Names of the models it serves; None if it doesn't say.

        Raises:
            ModelError, PrerequisiteError: it can't be reached, or refuses the key.
        """
        with self._request("GET", "/models", None) as response:
            if response is None:
                return None
            content = response.read()
        try:
            listed = json.loads(content)["data"]
            return [str(item["id"]) for item in listed]
        except (ValueError, KeyError, TypeError):
            return None

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Heard]:
        """The events of a streamed answer.

        Settings that the server refuses are left out, once and for all.

        Raises:
            ModelError: it can't be reached, fails, breaks off, or sends what is no answer.
            PrerequisiteError: it refuses the key.
        """
        with self._request("POST", path, body) as response:
            if response is None:
                raise self._failure("has no such service", hint="Check --base-url, it ends in /v1")
            complete = False
            for content in self._events(response):
                heard = Heard({}) if content == _DONE else self._heard(content)
                is_last = content == _DONE or bool(heard.choice.get("finish_reason"))
                complete = complete or is_last
                if heard.choice or heard.usage:
                    yield heard
            if not complete:
                raise self._failure(
                    "ended its answer without saying that it is complete",
                    hint="Ask again; look at the server's own log if it does so again",
                )

    def _events(self, response: Any) -> Iterator[bytes]:
        """Contents of server-sent events, or the one of a plain answer."""
        httpx: Any = require("httpx", extra="openai")
        is_stream = "text/event-stream" in response.headers.get("content-type", "")
        waiting, until = b"", time.monotonic() + self.endpoint.deadline_s
        try:
            for block in response.iter_bytes():
                waiting += block
                while is_stream and b"\n" in waiting:
                    line, _, waiting = waiting.partition(b"\n")
                    content = line.strip().removeprefix(b"data:").strip()
                    if line.startswith(b"data:") and content:
                        yield content
                        if content == _DONE:
                            return
                if time.monotonic() > until:
                    raise SlowModelError(
                        f"the server at {self.endpoint.host} took longer than "
                        f"{self.endpoint.deadline_s:g} s for one answer",
                        hint="Ask a shorter question, or use a faster server",
                    )
                if len(waiting) > MAX_EVENT_BYTES:
                    raise self._failure(
                        f"sends more than {MAX_EVENT_BYTES} bytes at once",
                        hint="Check that it is an OpenAI-compatible server",
                    )
        except httpx.TimeoutException as error:
            raise self._silent() from error
        except httpx.HTTPError as error:
            raise self._failure(
                f"broke off in the middle of an answer ({type(error).__name__})",
                hint="Ask again; look at the server's own log if it does so again",
            ) from error
        if not is_stream:
            yield waiting
            yield _DONE

    def _heard(self, content: bytes) -> Heard:
        try:
            event = json.loads(content)
            if isinstance(event, dict) and event.get("error"):
                raise self._failure(f"failed: {_message(event)}", hint="Look at its own log")
            choices = event["choices"]
            choice = cast(dict[str, Any], dict(choices[0])) if choices else {}
            return Heard(choice, _usage(event.get("usage")))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._failure(
                f"sent what is no answer ({type(error).__name__})",
                hint="Check that it is an OpenAI-compatible server",
            ) from error

    @contextmanager
    def _request(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> Generator[Any | None]:
        """A response whose body hasn't been read; None where there is no such service."""
        httpx: Any = require("httpx", extra="openai")
        endpoint = self.endpoint
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        wait = httpx.Timeout(endpoint.timeout_s, connect=min(CONNECT_S, endpoint.timeout_s))
        # A proxy of the environment would see what is meant for this machine alone.
        with httpx.Client(
            headers=headers, timeout=wait, trust_env=not endpoint.is_local, follow_redirects=False
        ) as client:
            response = self._send(client, method, endpoint.base_url + path, body)
            try:
                yield None if response.status_code in (404, 405) else response
            finally:
                response.close()

    def _send(self, client: Any, method: str, url: str, body: dict[str, Any] | None) -> Any:
        """Try until the server takes the request; what it has begun to answer isn't tried again."""
        httpx: Any = require("httpx", extra="openai")
        pause, tries = self.endpoint.first_pause_s, 1
        while True:
            sent = None if body is None else self._accepted(body)
            failure: Exception | None = None
            asked_s = 0.0
            try:
                request = client.build_request(method, url, json=sent)
                response = client.send(request, stream=True)
                if response.status_code in (200, 404, 405):
                    return response
                said, asked_s = _refusal(response)
                if response.status_code in (400, 422) and self._leave_out(sent, said):
                    continue
                if response.status_code not in _BUSY or tries == MAX_TRIES:
                    raise self._refused_with(response.status_code, said)
            except httpx.TimeoutException as error:
                failure = error
                if tries == MAX_TRIES:
                    raise self._silent() from error
            except httpx.HTTPError as error:
                failure = error
                if tries == MAX_TRIES:
                    raise self._failure(
                        f"can't be reached ({type(error).__name__})",
                        hint="Start the server, or correct --base-url",
                    ) from error
            log.info("try %d of %d failed (%s)", tries, MAX_TRIES, type(failure).__name__)
            time.sleep(min(MAX_PAUSE_S, max(asked_s, pause * random.uniform(0.8, 1.2))))
            pause, tries = 2 * pause, tries + 1

    def _accepted(self, body: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in body.items() if name not in self._refused}
        if "max_tokens" in self._refused and "max_tokens" in body:
            kept["max_completion_tokens"] = body["max_tokens"]
        return kept

    def _leave_out(self, sent: dict[str, Any] | None, said: str) -> bool:
        """Note a setting that a refusal names; whether there is one."""
        named = [name for name in _OPTIONAL if sent and name in sent and name in said]
        self._refused.update(named[:1])
        return bool(named)

    def _refused_with(self, status: int, said: str) -> Exception:
        if status in (401, 403):
            return PrerequisiteError(
                f"{self.endpoint.host} refuses the key ({status})",
                hint=f"Set {KEY_VARIABLE} to a key of this server",
            )
        if status in _BUSY:
            return self._failure(f"is busy or failing ({status}: {said})", hint="Try again later")
        return self._failure(
            f"refuses the question ({status}: {said})",
            hint="Check the model's name, that it reads pictures, and how many; --regions shows "
            "fewer",
        )

    def _silent(self) -> ModelError:
        return SlowModelError(
            f"the server at {self.endpoint.host} was silent for {self.endpoint.timeout_s:g} s",
            hint="Give it longer with --timeout, or show fewer regions with --regions",
        )

    def _failure(self, what: str, *, hint: str) -> ModelError:
        return ModelError(f"the server at {self.endpoint.host} {what}", hint=hint)


def _refusal(response: Any) -> tuple[str, float]:
    """What a server says why it refuses, in one short line, and the pause that it asks for."""
    content = b""
    for block in response.iter_bytes():
        content += block
        if len(content) > 10_000:
            break
    response.close()
    try:
        said = _message(json.loads(content))
    except (ValueError, RecursionError):
        said = content.decode(errors="replace")
    try:
        pause = float(response.headers.get("retry-after", "0"))
    except ValueError:
        pause = 0.0
    return " ".join(said.split())[:300], max(0.0, pause)


def _usage(told: Any) -> Usage | None:
    """What a server counted; None where it doesn't, or oddly."""
    if not isinstance(told, dict):
        return None
    prompt, written = told.get("prompt_tokens"), told.get("completion_tokens")
    if type(prompt) is not int or type(written) is not int or min(prompt, written) < 0:
        return None
    return Usage(prompt, None, written)


def _message(event: Any) -> str:
    error = event.get("error", event) if isinstance(event, dict) else event
    if isinstance(error, dict):
        named = [str(error[key]) for key in ("message", "detail", "param") if error.get(key)]
        return " ".join(named)[:300]
    return str(error)[:300]


def _masked(url: str) -> str:
    """An address without a password that stands in it."""
    return url if "@" not in url else url.split("://")[0] + "://…@" + url.rsplit("@", 1)[1]
