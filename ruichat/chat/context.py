"""What people say about a case, on its way to models that take it: data, never an instruction."""

from __future__ import annotations

from typing import Literal

from ruichat.chat.plain import strip_controls
from ruichat.errors import InputError

MAX_CONTEXT_CHARS = 4000
"""Longer text isn't the clinical context of one case and would crowd the slide out; ours."""

ContextUse = Literal["none", "read", "unread"]
"""Whether there was any, and whether the model was told it."""


def quoted_context(text: str) -> str:
    """The text as a quotation: a mark before every line, so that none of it can end it.

    Raises:
        InputError: it is too long.
    """
    if len(text) > MAX_CONTEXT_CHARS:
        raise InputError(
            f"the clinical context has {len(text)} characters; the model is told at most "
            f"{MAX_CONTEXT_CHARS}",
            hint="Shorten it to what matters for the question",
        )
    lines = (strip_controls(line).strip() for line in text.splitlines())
    return "\n".join(f"> {line}" for line in lines if line)
