"""What the page sends to Gradio's queue: checked here, for Gradio fails over some of it."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ruichat.config import Config
from ruichat.errors import InputError

SESSION = r"[A-Za-z0-9]{1,64}"
"""A tab, as Gradio's script names it."""

Session = Annotated[str, Field(pattern=rf"^{SESSION}$")]
Index = Annotated[int, Field(strict=True, ge=0)]
EventId = Annotated[str, Field(max_length=64)]


class Join(Config):
    """An event of the page."""

    session_hash: Session
    fn_index: Index
    """Which of the page's functions it is for."""
    data: list[Any]
    event_data: Any = None
    trigger_id: Index | None = None
    event_id: EventId | None = None


class Cancel(Config):
    """An event is wanted no more."""

    session_hash: Session
    fn_index: Index
    event_id: EventId


class Reset(Config):
    """An event begins anew when it comes again."""

    event_id: EventId
    session_hash: Session | None = None
    fn_index: None = None


Event = Join | Cancel | Reset

KINDS: dict[str, type[Event]] = {"join": Join, "cancel": Cancel, "reset": Reset}
"""By the last part of the path."""


def event_of(path: str, body: bytes) -> Event:
    """The event that a request brings.

    Args:
        path: of the request, one of `KINDS` at its end.

    Raises:
        InputError: the page sends no such thing.
    """
    kind = KINDS[path.rstrip("/").rpartition("/")[2]]
    hint = "Reload the page"
    try:
        return kind.model_validate(json.loads(body))
    except ValidationError as error:
        fields = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
        known = ", ".join(sorted(fields & set(kind.model_fields)))
        raise InputError(
            f"the page sent something else than it should ({known or 'its form'})", hint=hint
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError("the page sent something that isn't JSON", hint=hint) from error
