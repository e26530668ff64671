"""Words of a model that wasn't trained by us, on their way to pieces: untrusted until read here.

Thoughts are marked as such, control characters dropped, and regions that are named in any usual
way ("[R7]", "region 7", "R7 and R9", "区域7") become citations.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from ruichat.model.chat_model import FOREIGN, Piece
from ruichat.model.mentions import find_mentions

MAX_PIECE_CHARS = 256
"""A longer single piece isn't a word: it is cut into pieces of this length."""

MAX_WAIT_CHARS = 300
"""So much text waits at most for the end of a sentence that may name a region."""

MAX_NUMBER = 99
"""Highest number that is read as a region's; those a slide doesn't have are removed and reported
by who shows the answer."""

_THOUGHTS = (("<think>", "</think>"), ("<unused94>", "<unused95>"))
"""How models mark what isn't part of the answer: Qwen and many others; MedGemma 1.5."""

_OPENS = {opening: closing for opening, closing in _THOUGHTS}
OPENINGS = tuple(_OPENS)
"""Marks that begin a thought; a prompt may end with one."""

_LONGEST = max(len(tag) for pair in _THOUGHTS for tag in pair)
_BOUNDARY = re.compile(r"\s|(?<=[。！？；，、：])")
_SENTENCE_ENDS = re.compile(r"(?:[.!?;。！？；][\"'”’)\]]*\s*|\n\s*)$")
_MAY_NAME = re.compile(r"\[|区|第|(?<![0-9A-Za-z])(?:r(?![A-Za-z])|regions?|areas?)", re.IGNORECASE)
_DROPPED = ("Cc", "Cf", "Cs", "Co", "Cn")


@dataclass(frozen=True, slots=True)
class _Bit:
    """A piece as the model wrote it."""

    text: str
    logprob: float


class ForeignWords:
    """Turns what a model writes into pieces, the same however its words are cut.

    Args:
        num_regions: regions of the slide; only they become citations of a region.
        thinking: the prompt has opened a thought already.
    """

    def __init__(self, num_regions: int, *, thinking: str = "") -> None:
        self._num_regions = num_regions
        self._closing = _OPENS.get(thinking, "")
        self._raw: list[_Bit] = []
        self._waiting: list[_Bit] = []
        self._thoughts: list[_Bit] = []

    @property
    def is_thinking(self) -> bool:
        """Whether what came last is part of a thought."""
        return bool(self._closing)

    def feed(self, text: str, logprob: float = 0.0) -> Iterator[Piece]:
        """Take the model's next words; gives pieces that are ready to be shown."""
        for start in range(0, len(text), MAX_PIECE_CHARS):
            share = logprob if start == 0 else 0.0
            self._raw.append(_Bit(text[start : start + MAX_PIECE_CHARS], share))
        self._part_thoughts(ended=False)
        yield from self._thought()
        yield from self._ready()

    def think(self, text: str, logprob: float = 0.0) -> Iterator[Piece]:
        """Take words that are known to be a thought, whatever they hold."""
        self._thoughts.append(_Bit(_shown(text), logprob))
        yield from self._thought()

    def end(self) -> Iterator[Piece]:
        """The pieces that were still waiting."""
        self._part_thoughts(ended=True)
        yield from self._thought()
        yield from self._ready()
        yield from self._cite(_text(self._waiting))

    def _part_thoughts(self, *, ended: bool) -> None:
        """Move words and thoughts on, except for what may be the beginning of a mark."""
        while True:
            raw = _text(self._raw)
            tags = [self._closing] if self._closing else list(_OPENS)
            found = [(raw.find(tag), tag) for tag in tags if tag in raw]
            if not found:
                break
            at, tag = min(found)
            self._move(at)
            _take(self._raw, len(tag))
            self._closing = "" if self._closing else _OPENS[tag]
        tags = [self._closing] if self._closing else list(_OPENS)
        self._move(len(raw) if ended else len(raw) - _begun(raw, tags))

    def _move(self, num: int) -> None:
        for bit in _take(self._raw, num):
            text = _shown(bit.text)
            if text:
                place = self._thoughts if self._closing else self._waiting
                place.append(_Bit(text, bit.logprob))

    def _thought(self) -> Iterator[Piece]:
        thoughts, self._thoughts = self._thoughts, []
        for bit in thoughts:
            yield Piece(bit.text, FOREIGN, bit.logprob, thought=True)

    def _ready(self) -> Iterator[Piece]:
        at = 0
        while True:
            text = _text(self._waiting)
            match = next((m for m in _BOUNDARY.finditer(text, at) if m.end() > at), None)
            if match is None:
                return
            at = match.end()
            chunk = text[:at]
            plain = _MAY_NAME.search(chunk) is None
            if plain or _SENTENCE_ENDS.search(chunk) or at >= MAX_WAIT_CHARS:
                yield from self._cite(chunk)
                at = 0

    def _cite(self, chunk: str) -> Iterator[Piece]:
        """The pieces of a stretch, each mention of a region as one piece of its own."""
        at = 0
        for mention in find_mentions(chunk, MAX_NUMBER):
            yield from _plain(_take(self._waiting, mention.start - at))
            logprob = sum(bit.logprob for bit in _take(self._waiting, mention.end - mention.start))
            exists = mention.number <= self._num_regions
            region = mention.number - 1 if exists else None
            yield Piece(f"[R{mention.number}]", FOREIGN, logprob, region)
            at = mention.end
        yield from _plain(_take(self._waiting, len(chunk) - at))


def _plain(bits: list[_Bit]) -> Iterator[Piece]:
    for bit in bits:
        yield Piece(bit.text, FOREIGN, bit.logprob)


def _text(bits: list[_Bit]) -> str:
    return "".join(bit.text for bit in bits)


def _take(bits: list[_Bit], num: int) -> list[_Bit]:
    """Cut `num` characters off the front; a piece that is cut counts where it begins."""
    taken: list[_Bit] = []
    while num > 0 and bits:
        bit = bits.pop(0)
        if len(bit.text) > num:
            bits.insert(0, _Bit(bit.text[num:], 0.0))
            bit = _Bit(bit.text[:num], bit.logprob)
        num -= len(bit.text)
        taken.append(bit)
    return taken


def _begun(text: str, tags: list[str]) -> int:
    """How many characters at the end may be the beginning of one of the tags."""
    for num in range(min(_LONGEST - 1, len(text)), 0, -1):
        if any(tag.startswith(text[-num:]) for tag in tags):
            return num
    return 0


def _shown(text: str) -> str:
    """Without characters that could steer a terminal or hide; line breaks stay."""
    kept = (c for c in text if c in "\n\t" or unicodedata.category(c) not in _DROPPED)
    return "".join(kept).replace("\t", " ")
