"""Any OpenAI-compatible server behind the door: pictures of regions go in as data URLs."""

from __future__ import annotations

import base64
import difflib
import math
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruichat.errors import ConfigError, ModelError
from ruichat.model.chat_model import MAX_TOKENS, OptionScore, Piece, SlideContext, Usage
from ruichat.model.foreign_words import ForeignWords
from ruichat.model.image_inputs import Exchange
from ruichat.model.openai_http import Endpoint, Server
from ruichat.model.picture_prompt import (
    Part,
    map_text,
    prompt_labels,
    question_parts,
    slide_parts,
)
from ruichat.model.pictures import Picture

PREFIX = "openai:"
"""How such a model is named: "openai:NAME", NAME as the server calls it."""

MAX_THOUGHT = 2048
"""Tokens that a model may think before it answers, where it is asked to."""

MAX_CHARS_PER_TOKEN = 16
"""A server that writes on past its limit is cut off here."""

_MARKER = re.compile(r"<(?=[|/]?[A-Za-z_]{1,32}\d{0,3}[|/]?>)|\[(?=/?INST\])")


def plain(text: str) -> str:
    """Text that no chat template takes for the mark of a role or of a picture."""
    return _MARKER.sub(lambda match: match[0] + " ", text)


@dataclass(frozen=True)
class OpenAiChatModel:
    """A model on a server.

    Attributes:
        name: recorded with every answer.
        served: its name on the server.
        server: answers.
    """

    name: str
    served: str
    server: Server

    @classmethod
    def connect(cls, model: str, endpoint: Endpoint) -> OpenAiChatModel:
        """Find a model on its server; nothing about any slide is sent.

        Args:
            model: "openai:NAME".
            endpoint: the server.

        Raises:
            ConfigError: no name is given, or the server has no model of that name.
            ModelError, PrerequisiteError: it can't be reached, or refuses the key.
        """
        name, server = model.removeprefix(PREFIX).strip(), Server(endpoint)
        known = server.models()
        if not name or (known is not None and name not in known):
            near = difflib.get_close_matches(name, known or [], n=3, cutoff=0.3) or (known or [])
            raise ConfigError(
                f"{endpoint.host} serves no model {name!r}",
                hint=f"It serves: {', '.join(near[:5])}" if near else f"Write {PREFIX}NAME",
            )
        return cls(name, name, server)

    @property
    def folder(self) -> Path | None:
        """It comes from no folder."""
        return None

    @property
    def prompts(self) -> tuple[str, ...]:
        """Prompts, with their versions, that its answers record."""
        return prompt_labels()

    @property
    def reads_context(self) -> bool:
        """It understands what people write about a case."""
        return True

    def open(self, slide: SlideContext | None) -> OpenAiSession:
        """Read the pictures of a slide; they are sent with each question, not before.

        Raises:
            InputError: there are no pictures.
        """
        return OpenAiSession(self, slide, () if slide is None else slide_parts(slide))

    def look_at(self, picture: Picture) -> OpenAiSession:
        """See `chat_model.PictureViewer`; the picture is sent with each question."""
        return OpenAiSession(self, None, (picture,))


@dataclass(frozen=True, slots=True)
class _Bit:
    """Words as the server sent them; their log-probability is NaN where it doesn't say."""

    text: str
    logprob: float
    is_thought: bool = False


class OpenAiSession:
    """One dialogue; see `chat_model.ChatSession`."""

    def __init__(
        self,
        model: OpenAiChatModel,
        slide: SlideContext | None,
        parts: tuple[Part, ...],
        exchanges: tuple[Exchange, ...] = (),
    ) -> None:
        self._model, self._slide, self._parts = model, slide, parts
        self._exchanges = exchanges
        self.was_cut = False
        """Whether the last answer ended because it had become too long."""
        self.usage: Usage | None = None
        """Tokens that the last answer took, where the server counts them."""
        self._context = ""

    def stream(
        self, question: str, *, max_tokens: int = MAX_TOKENS, think: bool | None = None
    ) -> Generator[Piece, None, None]:
        """See `chat_model.ChatSession`; closing the generator closes the connection.

        Raises:
            InputError: the question is empty or too long.
            ModelError, PrerequisiteError: the server can't be reached, fails or breaks off.
        """
        asked = Exchange(question_parts(question, self._slide, self._untold))
        body: dict[str, Any] = {
            "model": self._model.served,
            "messages": self._messages([*self._exchanges, asked]),
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            "max_tokens": max_tokens + (MAX_THOUGHT if think else 0),
            "logprobs": True,
        }
        if think is not None:
            body["chat_template_kwargs"] = {"enable_thinking": think}
        words = ForeignWords(0 if self._slide is None else len(self._slide.regions))
        text, room = "", body["max_tokens"] * MAX_CHARS_PER_TOKEN
        self.was_cut, self.usage = False, None
        try:
            with closing(self._bits(body)) as bits:
                for bit in bits:
                    read = words.think if bit.is_thought else words.feed
                    for piece in read(bit.text[:room], bit.logprob):
                        text += "" if piece.thought else piece.text
                        yield piece
                    room -= len(bit.text)
                    if room <= 0:
                        self.was_cut = True
                        break
            for piece in words.end():
                text += "" if piece.thought else piece.text
                yield piece
        finally:
            self._exchanges += (Exchange(asked.parts, text),)

    def score(self, question: str, options: Sequence[str]) -> list[OptionScore]:
        """Not possible: chat servers don't tell how likely a given answer is.

        Raises:
            ModelError: always.
        """
        del question, options
        raise ModelError(
            f"the server of {self._model.name} can't score given answers",
            hint="Let it answer in words, or load the model from a folder",
        )

    def know(self, context: str) -> None:
        """See `chat_model.CaseListener`."""
        self._context = context

    @property
    def _untold(self) -> str:
        """What the next question has to say about the case: only the first of a dialogue does."""
        return "" if self._exchanges else self._context

    def fork(self) -> OpenAiSession:
        """See `chat_model.ChatSession`."""
        twin = OpenAiSession(self._model, self._slide, self._parts, self._exchanges)
        twin._context = self._context
        return twin

    def _messages(self, exchanges: Sequence[Exchange]) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for number, exchange in enumerate(exchanges):
            parts = (*self._parts, *exchange.parts) if number == 0 else exchange.parts
            content = [_content(part) for part in map_text(parts, plain)]
            messages.append({"role": "user", "content": content})
            if exchange.answer is not None:
                messages.append({"role": "assistant", "content": plain(exchange.answer)})
        return messages

    def _bits(self, body: dict[str, Any]) -> Generator[_Bit]:
        """Words and thoughts as they come."""
        for heard in self._model.server.stream("/chat/completions", body):
            choice, self.usage = heard.choice, heard.usage or self.usage
            self.was_cut = self.was_cut or choice.get("finish_reason") == "length"
            said = choice.get("delta") or choice.get("message")
            if not isinstance(said, dict):
                continue
            thought = said.get("reasoning_content") or said.get("reasoning")
            if isinstance(thought, str):
                yield _Bit(thought, math.nan, is_thought=True)
            text = said.get("content")
            if not isinstance(text, str) or not text:
                continue
            tokens = list(_tokens(choice.get("logprobs")))
            told = "".join(token.text for token in tokens) == text
            yield from tokens if told else [_Bit(text, math.nan)]


def _content(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    url = "data:image/jpeg;base64," + base64.b64encode(part.jpeg).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def _tokens(logprobs: Any) -> Iterator[_Bit]:
    """Tokens of an event with their log-probabilities; none if they aren't told as usual."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    for item in content if isinstance(content, list) else ():
        if not isinstance(item, dict):
            return
        token, value = item.get("token"), item.get("logprob")
        if not isinstance(token, str) or not isinstance(value, int | float):
            return
        yield _Bit(token, float(value))
