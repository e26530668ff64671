"""Ids to text, one by one: what each spells, and characters that several ids make together."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ruichat.model.processing import RuiChatProcessor


@dataclass(frozen=True, slots=True)
class Entry:
    """One id: the bytes it adds to a text; the region or fact it names.

    Attributes:
        spelled: UTF-8, part of a character perhaps; b"" of structure but `<|cannot|>`.
        region: index of the region that it names, 6 for [R7].
        fact: name of the fact.
        is_structure: it stands for no text, so no character goes on behind it.
    """

    spelled: bytes
    region: int | None = None
    fact: str | None = None
    is_structure: bool = False


class Speller:
    """Ids to text one by one; bytes are held back until they make a character."""

    def __init__(self, processor: RuiChatProcessor) -> None:
        self._processor = processor
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        """Text that this id completes, often its own, sometimes none yet."""
        entry = self._processor.entry(token_id)
        held = self.flush() if entry.is_structure else ""
        return held + self._decoder.decode(entry.spelled)

    def flush(self) -> str:
        """What is held back, with replacement characters for broken bytes."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text
