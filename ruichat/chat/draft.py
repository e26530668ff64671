"""The model's words on their way to the reader: facts filled in, citations checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ruichat.chat.sentences import CITATION, split_sentences
from ruichat.chat.support import WrittenPiece
from ruichat.model.vocabulary import CANNOT

_FACT = re.compile(r"\{([a-z0-9_]{1,32})\}")
_UNKNOWN_CITATION_BLANK = re.compile(r"\s*\[R\d{1,4}\]")
_OPEN_NAME = re.compile(r"\s*(?:\[(?:R\d{0,4})?|\{[a-z0-9_]{0,32}|<\|?[a-z]{0,12}\|?)?$")
_LEAD = re.compile(r"(?:\s|<\|[a-z]+\|>)*")
_CONTROL = re.compile(r"<\|[a-z]+\|>")


@dataclass(frozen=True)
class Rendered:
    """A stretch of the model's words as shown.

    Attributes:
        text: with facts filled in and unknown names taken out.
        facts: names of the facts it quotes.
        errors: what was taken out.
    """

    text: str
    facts: tuple[str, ...]
    errors: tuple[str, ...]


def render_words(raw: str, *, num_regions: int, facts: Mapping[str, str]) -> Rendered:
    """Fill in facts and check citations.

    Args:
        raw: the model's words.
        num_regions: regions of the slide; a name beyond them cites nothing and is removed.
        facts: value of each fact piece, by "{name}".
    """
    errors: list[str] = []
    quoted: list[str] = []

    def fill(match: re.Match[str]) -> str:
        value = facts.get(match.group())
        if value is None:
            errors.append(f"unknown fact {match.group()} removed")
            return ""
        quoted.append(match.group(1))
        return value

    def check(match: re.Match[str]) -> str:
        name = match.group().strip()
        if 1 <= int(name[2:-1]) <= num_regions:
            return match.group()
        errors.append(f"unknown region {name} removed; the slide has R1 to R{num_regions}")
        return ""

    text = _CONTROL.sub("", raw)
    text = _UNKNOWN_CITATION_BLANK.sub(check, text)
    text = _FACT.sub(fill, text)
    return Rendered(text, tuple(dict.fromkeys(quoted)), tuple(errors))


class Draft:
    """Collects a model's pieces and says which of its words may be shown.

    The first sentence is held back until it is whole, because it carries the answer and its
    confidence decides whether it is shown at all. Later words follow as they come, except for
    the start of a name that may have to be removed.
    """

    def __init__(self) -> None:
        self._pieces: list[WrittenPiece] = []
        self.raw = ""

    def add(self, text: str, logprob: float) -> None:
        """Take the model's next piece."""
        self._pieces.append(WrittenPiece(text, logprob))
        self.raw += text

    @property
    def abstains(self) -> bool:
        """Whether the model opened with the piece that says it can't tell."""
        return self.raw.lstrip().startswith(CANNOT)

    @property
    def start(self) -> int:
        """Where in `raw` the first word begins, past blanks and the abstention piece."""
        match = _LEAD.match(self.raw)
        return match.end() if match else 0

    def first_sentence(self, *, ended: bool) -> str | None:
        """The first sentence with words, None as long as it may go on."""
        parts = split_sentences(self.raw)
        if not parts:
            return None
        started = len(parts) > 1 and bool(CITATION.sub("", parts[1]).strip())
        return parts[0] if ended or started else None

    def pieces_of(self, start: int, end: int) -> Sequence[WrittenPiece]:
        """Pieces that begin in a stretch of `raw`, so that stretches in a row share none."""
        chosen: list[WrittenPiece] = []
        at = 0
        for piece in self._pieces:
            if start <= at < end:
                chosen.append(piece)
            at += len(piece.text)
        return chosen

    def safe_end(self) -> int:
        """Where in `raw` a name may have begun that isn't complete yet."""
        match = _OPEN_NAME.search(self.raw)
        return match.start() if match else len(self.raw)
