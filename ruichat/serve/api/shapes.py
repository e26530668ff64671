"""What requests and answers of the API have in common."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar, cast

from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ruichat.serve.problems import ErrorBody
from ruichat.storage.database.models import LINE, LONG

T = TypeVar("T", bound=BaseModel)

MAX_PAGE = 1000

_VISIBLE = r"[^\x00-\x1f\x7f]"

IdPath = Annotated[
    str, Path(pattern=r"^[0-9a-f]{32}$", description="32 hexadecimal digits, given by the server.")
]
Line = Annotated[str, Field(max_length=LINE, pattern=rf"^{_VISIBLE}*$")]
"""A name: one line, perhaps empty."""
FullLine = Annotated[
    str, Field(max_length=LINE, pattern=rf"^{_VISIBLE}*[^\s\x00-\x1f\x7f]{_VISIBLE}*$")
]
"""A name that can't be empty."""
Prose = Annotated[str, Field(max_length=LONG, pattern=r"^[^\x00]*$")]
"""Text of several lines, perhaps empty."""


class Given(BaseModel):
    """What a client sends: nothing but the fields that there are, nothing turned into others."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, values: Any) -> Any:
        """JSON knows no whole numbers: 1.0 is one too, as JSON Schema has it."""
        if not isinstance(values, dict):
            return values
        given = cast(dict[str, Any], values)
        return {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in given.items()
        }


class Shown(BaseModel):
    """What a client gets of a row."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    created_at: datetime


class Page(BaseModel, Generic[T]):
    """A part of a list."""

    items: list[T]
    total: int
    """Entries of the whole list."""
    offset: int
    """Entries of the list before these."""


class Window(BaseModel):
    """Which part of a list a client wants."""

    offset: int
    limit: int

    def of(self, rows: Sequence[object], kind: type[T]) -> Page[T]:
        """That part of the rows, each as what clients get of it."""
        part = rows[self.offset : self.offset + self.limit]
        page = cast(type[Page[T]], Page.__class_getitem__(kind))
        return page(
            items=[kind.model_validate(row) for row in part], total=len(rows), offset=self.offset
        )


def _window(
    offset: Annotated[int, Query(ge=0, le=10_000_000, description="Entries to skip.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most entries to give.")] = 100,
) -> Window:
    return Window(offset=offset, limit=limit)


Part = Annotated[Window, Depends(_window)]
"""Parameter of a route that gives a list."""


def seen_in(given: Given | None) -> dict[str, Any]:
    """The fields that a client says it saw."""
    return {} if given is None else given.model_dump(exclude_unset=True)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors that a route may answer with, for its description; all have one shape."""
    return {status: {"model": ErrorBody} for status in sorted({*_ALWAYS, *statuses})}


_ALWAYS = (400, 401, 403, 413, 422, 429, 503)
"""Unreadable, no login, no right, too much sent, unfit values, too often, database away."""

NOT_FOUND = 404
CONFLICT = 409
FULL = 507
"""The disk is full: of routes that write."""
