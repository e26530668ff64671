"""What is wrong with a record, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

Severity = Literal["error", "warning"]

MAX_SHOWN = 60
"""Characters of a value that a message shows."""


class Wrong(ValueError):
    """A record that can't be used, or a part of one that deserves a look.

    Args:
        field: its path in the record, `turns.0.role`.
        code: short name of the kind, for counting.
        message: what was found and what is allowed. Never a patient or a slide.
        remedy: what to do, as an instruction.
    """

    def __init__(self, field: str, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.field = field
        self.code = code
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong in a file.

    Attributes:
        file: its name.
        line: where the record begins, from 1.
        record: its number, from 1; 0 where the file as a whole is meant.
        field: path in the record; empty for the whole.
        code: short name of the kind.
        message: what was found and what is allowed.
        remedy: what to do.
        severity: an error's record can't be used.
    """

    file: str
    line: int
    record: int
    field: str
    code: str
    message: str
    remedy: str
    severity: Severity = "error"

    def __str__(self) -> str:
        at = f"{self.file} line {self.line}"
        if self.record:
            at += f", record {self.record}"
        if self.field:
            at += f", {self.field}"
        return f"{at}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


def name_of(path: Path) -> str:
    """The name of a file as it can be written; names needn't be UTF-8."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def shown(value: object) -> str:
    """A value as messages show it: quoted, and cut where it is long."""
    text = repr(value[: MAX_SHOWN + 1]) if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_SHOWN + 2 else f"{text[:MAX_SHOWN]}..."


def wrongs_of(error: ValidationError) -> Iterator[Wrong]:
    """What pydantic refused, in our words where it was one of our own rules."""
    for item in error.errors(include_url=False):
        where = ".".join(map(str, item["loc"]))
        context = item.get("ctx") or {}
        own = context.get("error")
        if isinstance(own, Wrong):
            field = ".".join(part for part in (where, own.field) if part)
            yield Wrong(field, own.code, own.message, own.remedy)
            continue
        code, remedy = _REMEDIES.get(item["type"], ("wrong_value", "Correct the field"))
        if item["type"] == "missing":
            yield Wrong(where, code, "the field is missing", remedy)
        elif item["type"] == "extra_forbidden":
            yield Wrong(where, code, "the format has no such field", remedy)
        else:
            found = shown(item["input"])
            yield Wrong(where, code, f"{item['msg']}; it is {found}", remedy)


_REMEDIES: dict[str, tuple[str, str]] = {
    "missing": ("missing_field", "Add it; docs/dialogues.md lists the fields"),
    "extra_forbidden": ("unknown_field", "Remove or rename it; see docs/dialogues.md"),
    "literal_error": ("unknown_value", "Give one of the allowed words"),
    "int_type": ("not_a_number", "Write a whole number without quotes"),
    "string_type": ("not_a_text", "Write a text in quotes"),
    "string_unicode": ("bad_text", "Save the file as UTF-8"),
    "string_too_short": ("empty_text", "Fill it, or take the record out"),
    "string_too_long": ("too_long", "Shorten it, or split the dialogue"),
    "too_short": ("empty_list", "Fill it, or take the record out"),
    "too_long": ("too_many", "Take the surplus out"),
}
