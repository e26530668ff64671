"""What the page says when somebody asks, stops or looks: checked, for it comes from a browser."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from ruichat.chat.question import MAX_QUESTION_CHARS
from ruichat.config import Config
from ruichat.errors import InputError
from ruichat.storage.database.models import Language

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Asked(Config):
    """A question, or one to be answered anew."""

    chat_id: Id | None = None
    """None begins a chat."""
    case_id: Id | None = None
    text: str = Field("", max_length=MAX_QUESTION_CHARS)
    slide_ids: tuple[Id, ...] = ()
    region_id: Id | None = None
    think: bool = False
    language: Language = "en"
    """Of the page."""
    retry: Id | None = None
    """The answer to be given anew instead."""
    question: int = Field(0, ge=0)
    """Number in its tab, told with whatever becomes of it; no tab's question has 0."""

    @model_validator(mode="after")
    def _is_whole(self) -> Asked:
        if self.retry is not None:
            if self.chat_id is None:
                raise ValueError("an answer is in a chat")
        elif self.case_id is None or not self.slide_ids:
            raise ValueError("a question is about slides of a case")
        return self


class Looked(Config):
    """Which chat somebody looks at, or stops."""

    chat_id: Id | None = None


def asked_of(data: Any) -> Asked:
    """What an event of the page asks.

    Raises:
        InputError: it isn't what the page sends.
    """
    return _checked(Asked, data)


def looked_of(data: Any) -> Looked:
    """Which chat an event of the page is about.

    Raises:
        InputError: it isn't what the page sends.
    """
    return _checked(Looked, data)


def _checked(kind: type[Any], data: Any) -> Any:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
        raise InputError(
            f"the page sent something else than it should ({fields})", hint="Reload the page"
        ) from error
