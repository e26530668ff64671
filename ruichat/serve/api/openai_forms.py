"""Forms of `/v1/chat/completions`: those of OpenAI's clients, with our parts beside theirs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SlideId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

MAX_PARTS = 32
MAX_MESSAGES = 200


class TextPart(BaseModel):
    """Words of a message."""

    type: Literal["text"]
    text: str = Field(max_length=20_000)


class ImageUrl(BaseModel):
    """A picture within the request; no address is ever fetched."""

    url: str = Field(pattern=r"^data:image/(jpeg|png);base64,", max_length=17_000_000)
    """data:image/jpeg;base64,… or data:image/png;base64,…"""
    detail: str | None = None
    """Without effect."""
    mpp: float | None = Field(None, gt=0)
    """Micrometres per pixel; every picture needs it."""


class ImagePart(BaseModel):
    """A picture of stained tissue."""

    type: Literal["image_url"]
    image_url: ImageUrl


class SlidePart(BaseModel):
    """A slide of one of your cases."""

    type: Literal["ruichat_slide"]
    slide_id: SlideId


class RegionPart(BaseModel):
    """A region of a slide, which the question is about."""

    type: Literal["ruichat_region"]
    slide_id: SlideId
    points: list[tuple[float, float]] = Field(min_length=3, max_length=2000)
    """Corners [x, y] in order, level-0 pixels."""


Part = Annotated[TextPart | ImagePart | SlidePart | RegionPart, Field(discriminator="type")]


class Message(BaseModel):
    """One turn of the dialogue."""

    role: Literal["system", "developer", "user", "assistant"]
    """What system and developer say is taken as data about the case, never as an instruction: it
    changes neither how answers cite nor when they stay open. A model that takes no such data, as
    `mini`, isn't shown it; the answer's `ruichat.context` is then "unread". Turns of the assistant
    aren't read: earlier questions are answered anew where the next one goes on from them."""
    content: str | Annotated[list[Part], Field(max_length=MAX_PARTS)] | None = None


class StreamOptions(BaseModel):
    """What a stream holds beside words."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class Wishes(BaseModel):
    """What OpenAI's form has no field for."""

    model_config = ConfigDict(extra="forbid")

    language: Literal["en", "zh"] | None = None
    """Of fixed wordings; the question's if missing."""
    think: bool = False
    """Whether the model thinks first."""
    show_thinking: bool = False
    """Whether its thought comes as reasoning_content."""


class TextFormat(BaseModel):
    """Answers are text."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]


class Completion(BaseModel):
    """A request. Settings that this server can't heed are refused, never passed over.

    Answers are greedy, one at a time and in words: the same question always gets the same answer.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, gt=0)
    max_completion_tokens: int | None = Field(None, gt=0)
    n: Literal[1] | None = None
    temperature: float | None = Field(None, ge=0, le=0)
    """0: answers are greedy."""
    top_p: float | None = Field(None, ge=0, le=1)
    """Of greedy answers it changes nothing."""
    seed: int | None = None
    """Whatever it is, the answer is the same each time."""
    presence_penalty: float | None = Field(None, ge=0, le=0)
    frequency_penalty: float | None = Field(None, ge=0, le=0)
    logprobs: Literal[False] | None = None
    response_format: TextFormat | None = None
    """A whole answer as JSON is in the field `ruichat` of every answer."""
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    """Of no tools it changes nothing."""
    stop: Annotated[list[str], Field(max_length=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    top_logprobs: None = None
    reasoning_effort: None = None
    """See `ruichat.think`."""
    user: str | None = None
    """Taken, and neither kept nor logged: the token says who asks."""
    store: Literal[False] | None = None
    """Chats under /v1 aren't kept."""
    ruichat: Wishes = Wishes()


class Model(BaseModel):
    """A model that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "ruichat"
    thinks: bool | None
    """Whether it can think before it answers; not known before it is loaded. Ours."""


class Models(BaseModel):
    """The models that can be asked: one."""

    object: Literal["list"] = "list"
    data: list[Model]


class OpenAiProblem(BaseModel):
    """What was wrong, in OpenAI's form."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAiErrorBody(BaseModel):
    """Body of every answer that isn't a success."""

    error: OpenAiProblem
