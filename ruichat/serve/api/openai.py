"""`/v1`: questions from programs that speak to OpenAI's servers."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from anyio import to_thread
from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import Request
from starlette.responses import Response

from ruichat.chat.outline import Outline0
from ruichat.errors import InputError, MissingMppError, ModelError, NotFoundError
from ruichat.serve.access.roles import CurrentUser
from ruichat.serve.access.routes import Asker, Reader
from ruichat.serve.api.openai_forms import (
    Completion,
    ImagePart,
    Message,
    Model,
    Models,
    OpenAiErrorBody,
    Part,
    RegionPart,
    SlidePart,
    TextPart,
)
from ruichat.serve.engine.events import (
    Done,
    Event,
    Failed,
    Reading,
    Stopped,
    ThoughtWords,
    Waiting,
    Words,
)
from ruichat.serve.engine.pictures import PREFIX
from ruichat.serve.engine.requests import Ask, DrawnRegion, Ticket
from ruichat.serve.openai_errors import openai_error
from ruichat.serve.problems import status_of
from ruichat.serve.services import Services, services_of
from ruichat.storage.database import cases, slides

LOOK_S = 0.25
"""Between two looks at whether the client is still there: well within the second in which what
nobody wants must be gone."""


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAiErrorBody}
    for status in (400, 401, 403, 404, 409, 413, 421, 422, 429, 503, 507)
}

router = APIRouter(prefix="/v1", tags=["openai"])


@router.get("/models", responses=_ERRORS)
def models(request: Request, user: Reader) -> Models:
    """The model that this server asks."""
    services = services_of(request)
    backend = services.engine.model.status.backend
    thinks = None if backend is None else backend.thinks
    return Models(data=[Model(id=services.settings.model, thinks=thinks)])


@router.post("/chat/completions", response_model=None, responses=_ERRORS)
async def complete(request: Request, body: Completion, user: Asker) -> Response:
    """Answer the last question of a dialogue, as a whole or as a stream of events.

    The slides, pictures or the region that a question is about are parts of its message, or of
    the last message before it that has any. What was read for one call stays read for the next.
    The whole answer, with claims, boxes and confidence, is in the field `ruichat`.
    """
    services = services_of(request)
    ticket = await to_thread.run_sync(lambda: _take_in(services, user, body))
    told = _Told(f"chatcmpl-{uuid4().hex}", body.model)
    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        lines = _stream(request, ticket, told, with_usage=with_usage)
        return StreamingResponse(lines, media_type="text/event-stream")
    return await _whole(request, ticket, told)


def _take_in(services: Services, user: CurrentUser, body: Completion) -> Ticket:
    """Hand the question to the engine.

    Raises:
        RuiChatError: it can't be asked, or too many wait.
    """
    if body.model != services.settings.model:
        raise NotFoundError(
            "there is no model of that name", hint=f"Ask {services.settings.model!r}"
        )
    questions = [message for message in body.messages if message.role == "user"]
    if not questions or body.messages[-1].role != "user":
        raise InputError("the last message isn't a user's", hint="End with the question")
    shown = next((parts for message in reversed(questions) if (parts := _shown(message))), [])
    region = _region(shown)
    slide_ids = [_slide_id(services, user, part) for part in shown]
    limits = [n for n in (body.max_tokens, body.max_completion_tokens) if n is not None]
    ask = Ask(
        user_id=user.id,
        slide_ids=tuple(slide_ids),
        question=_text(questions[-1]),
        region=region,
        earlier=tuple(text for message in questions[:-1] if (text := _text(message))),
        language=body.ruichat.language,
        think=body.ruichat.think or body.ruichat.show_thinking,
        show_thinking=body.ruichat.show_thinking,
        context=_context(services, user, body.messages, slide_ids),
        max_tokens=min(limits, default=None),
    )
    return services.engine.ask(ask)


def _context(
    services: Services, user: CurrentUser, messages: Sequence[Message], slide_ids: Sequence[str]
) -> str:
    """What is said about the case: its clinical context, and turns of system and developer.

    None of it can change how questions are answered; models that take it read it as a quotation.
    """
    found: dict[str, str] = {}
    with services.database.session() as session:
        for slide_id in slide_ids:
            if not slide_id.startswith(PREFIX):
                case_id = slides.get_slide(session, slide_id, user_id=user.id).case_id
                found[case_id] = cases.get_case(session, case_id, user_id=user.id).context
    if len(found) > 1:
        # Whose context is whose can't be told to the model: slides are asked one by one.
        found.clear()
    told = [_text(message) for message in messages if message.role in ("system", "developer")]
    return "\n".join(text for text in (*found.values(), *told) if text.strip())


def _parts(message: Message) -> Sequence[Part]:
    if isinstance(message.content, str):
        return [TextPart(type="text", text=message.content)]
    return message.content or []


def _text(message: Message) -> str:
    return "\n".join(part.text for part in _parts(message) if isinstance(part, TextPart))


def _shown(message: Message) -> list[ImagePart | SlidePart | RegionPart]:
    return [part for part in _parts(message) if not isinstance(part, TextPart)]


def _region(shown: Sequence[ImagePart | SlidePart | RegionPart]) -> DrawnRegion | None:
    regions = [part for part in shown if isinstance(part, RegionPart)]
    if len(regions) > 1:
        raise InputError(f"{len(regions)} regions are given", hint="Ask about one at a time")
    if not regions:
        return None
    return DrawnRegion(regions[0].slide_id, Outline0.of(regions[0].points))


def _slide_id(
    services: Services, user: CurrentUser, part: ImagePart | SlidePart | RegionPart
) -> str:
    """Id of a slide that the user may see, or of a picture that came with the question."""
    if not isinstance(part, ImagePart):
        services.slide_access.check(user.id, part.slide_id)
        return part.slide_id
    if part.image_url.mpp is None:
        raise MissingMppError(
            "the picture has no resolution",
            hint='Give micrometres per pixel: "image_url": {"url": …, "mpp": 0.5}',
        )
    data = part.image_url.url.partition(",")[2]
    try:
        picture = base64.b64decode(data, validate=True)
    except ValueError as error:  # also for letters that aren't ASCII
        raise InputError("the picture isn't base64", hint="Send data:image/png;base64,…") from error
    return services.engine.pictures.add(picture, part.image_url.mpp)


class _Told:
    """Words an answer in OpenAI's form."""

    def __init__(self, answer_id: str, model: str) -> None:
        self._head = {"id": answer_id, "created": int(time.time()), "model": model}
        self._was_read = False

    def hear(self, event: Event) -> None:
        """Remember whether slides were read for this question alone."""
        self._was_read = self._was_read or isinstance(event, Reading)

    def whole(self, done: Done) -> dict[str, Any]:
        """The body of an answer that isn't streamed."""
        message = {"role": "assistant", "content": done.answer.text, "refusal": None}
        finish = finish_reason(done)
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return self._head | {
            "object": "chat.completion",
            "choices": [choice],
            **self.usage(done),
            "ruichat": done.answer.to_json(),
        }

    def chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        """One event of a stream."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return self._line({"choices": [choice]} | more)

    def usage_chunk(self, done: Done) -> str:
        """The event that tells the tokens of a whole stream."""
        return self._line({"choices": []} | self.usage(done))

    def usage(self, done: Done) -> dict[str, Any]:
        """The field of that name, with text tokens; none where nobody counted them.

        Those of a slide that was read before count as cached.
        """
        usage = done.usage
        if usage is None:
            return {}
        told: dict[str, Any] = {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.written,
            "total_tokens": usage.prompt + usage.written,
        }
        if usage.slide is not None:
            cached = 0 if self._was_read else usage.slide
            told["prompt_tokens_details"] = {"cached_tokens": cached}
        return {"usage": told}

    def _line(self, values: dict[str, Any]) -> str:
        return _line(self._head | {"object": "chat.completion.chunk"} | values)


def finish_reason(done: Done) -> str:
    """Why an answer ended, in OpenAI's words."""
    return "length" if done.answer.was_cut else "stop"


def _line(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"


async def _whole(request: Request, ticket: Ticket, told: _Told) -> Response:
    async with _while_wanted(request, ticket):
        async for event in ticket.stream():
            told.hear(event)
            if isinstance(event, Done):
                return JSONResponse(told.whole(event))
            if isinstance(event, Failed):
                raise event.error
    raise ModelError("the question was stopped", hint="Ask again")


async def _stream(
    request: Request, ticket: Ticket, told: _Told, *, with_usage: bool
) -> AsyncGenerator[str]:
    async with _while_wanted(request, ticket):
        yield told.chunk({"role": "assistant", "content": ""})
        async for event in ticket.stream():
            told.hear(event)
            match event:
                case Words(text):
                    yield told.chunk({"content": text})
                case ThoughtWords(text):
                    yield told.chunk({"reasoning_content": text})
                case Reading(_, stage, done, total):
                    yield f": reading {stage} {done}/{total}\n\n"
                case Waiting(position):
                    yield f": waiting {position}\n\n"
                case Failed(error):
                    yield _line(openai_error(error, status_of(error)))
                case Done(answer):
                    yield told.chunk({}, finish_reason(event), ruichat=answer.to_json())
                    if with_usage and event.usage is not None:
                        yield told.usage_chunk(event)
                case Stopped():
                    pass
        yield "data: [DONE]\n\n"


@asynccontextmanager
async def _while_wanted(request: Request, ticket: Ticket) -> AsyncGenerator[None]:
    """Cancel the question once the client is gone, also while nothing is sent to it."""

    async def look() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(LOOK_S)
        ticket.cancel()

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        ticket.cancel()
