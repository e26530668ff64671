"""Column types that both databases keep alike, and that refuse what one of them couldn't."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, String, Text
from sqlalchemy.types import TypeDecorator

from ruichat.errors import InputError, NotFoundError

_ID = re.compile("[0-9a-f]{32}")


def new_id() -> str:
    """A random id: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC: aware of its zone when it goes in and when it comes out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise InputError(f"time {value.isoformat()} has no zone", hint="Give it in UTC")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Id(TypeDecorator[str]):
    """32 hexadecimal digits; nothing is found under anything else."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value is not None and not _ID.fullmatch(value):
            raise NotFoundError("there is nothing of that id", hint="Ids have 32 hex digits")
        return value


class Words(TypeDecorator[str]):
    """Text of bounded length that any database and any page can hold.

    Args:
        limit: most characters.
    """

    impl = Text
    cache_ok = True

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else checked_words(value, limit=self.limit)


def checked_words(text: str, *, limit: int) -> str:
    """The text itself.

    Raises:
        InputError: too long, or it holds NUL or half a character, which PostgreSQL can't keep.
    """
    if len(text) > limit:
        raise InputError(
            f"text has {len(text)} characters; at most {limit} are kept", hint="Shorten it"
        )
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(
            "text holds NUL or half a surrogate pair, which can't be kept",
            hint="Send plain Unicode text",
        )
    return text
