"""The guard: what H&E can't show or the model never learned, whatever the model would say.

Question text is data: it is only matched against word lists, never formatted, rendered or run.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from ruichat.chat.lexicon import EXEMPT, TOPICS
from ruichat.chat.question import named_regions
from ruichat.chat.question_words import ASKS, NAMES_TISSUE

GuardTopic = Literal[
    "ihc",
    "molecular",
    "outcome",
    "therapy",
    "stage",
    "clinical",
    "identity",
    "other_test",
    "untrained",
]

_HYPHENS = re.compile(r"[‐‑‒–—―−﹣－]")
_CLAUSE_END = re.compile(
    r"[，；。？！、\n]+|[,;.?!]+(?=\s|[^\x00-\x7f]|$)"
    r"|\b(?:and|but|also|then|plus)\b(?=\s+(?:is|are|was|does|do|did|has|have|can|could|will|would"
    r"|should|what|where|which|how|who|why|tell|describe|give|predict|estimate|show)\b)"
    r"|以及|并且|还有|同时|另外|此外",
    re.IGNORECASE,
)
_DANGLING = re.compile(
    r"^\s*(?:and|but|also|then|plus)\b|(?:\b(?:and|but|also|then|plus)|以及|并且|还有|同时|另外|此外"
    r"|[,;.?!，；。？！、\s])+$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class GuardHit:
    """Something a question asks that the slide can't show, and the word that showed it."""

    topic: GuardTopic
    trigger: str


@dataclass(frozen=True)
class GuardVerdict:
    """What of a question the slide can't answer.

    Attributes:
        hits: what can't be answered, each topic once; empty if the slide may answer it all.
        rest: the part of the question that may go to the model, "" if there is none.
    """

    hits: tuple[GuardHit, ...]
    rest: str


def check_question(question: str) -> GuardVerdict:
    """Decide which parts of a question can be answered from an H&E slide.

    A question of several clauses is split, so that "Is there tumour, and is HER2 positive?"
    still gets its first half answered.
    """
    hits: dict[GuardTopic, GuardHit] = {}
    kept: list[str] = []
    for clause in _clauses(question):
        hit = _match(clause)
        if hit is None:
            kept.append(clause)
        else:
            hits.setdefault(hit.topic, hit)
    if not hits:
        return GuardVerdict((), question)
    asking = [_as_question(clause) for clause in kept if _asks(clause)]
    return GuardVerdict(tuple(hits.values()), " ".join(asking))


def fold(text: str) -> str:
    """Text as the word lists expect it: no full-width letters, odd hyphens, zero-width marks."""
    plain = unicodedata.normalize("NFKC", text)
    plain = "".join(c for c in plain if unicodedata.category(c) != "Cf")
    return _HYPHENS.sub("-", plain)


def _match(clause: str) -> GuardHit | None:
    text = fold(clause)
    for pattern in EXEMPT:
        text = pattern.sub(" ", text)
    # In a question written in capitals, capitals no longer tell the gene MET from the verb.
    letters = [c for c in text if c.isascii() and c.isalpha()]
    shouting = len(letters) > 12 and all(c.isupper() for c in letters)
    for topic, patterns in TOPICS.items():
        for pattern, needs_case in patterns:
            match = None if needs_case and shouting else pattern.search(text)
            if match is not None:
                return GuardHit(topic, match.group().strip())
    return None


def _clauses(question: str) -> list[str]:
    """Clauses with their closing punctuation; their concatenation is the question."""
    cuts = [0, *(match.end() for match in _CLAUSE_END.finditer(question)), len(question)]
    return [question[a:b] for a, b in itertools.pairwise(cuts) if a < b]


def _as_question(clause: str) -> str:
    """A clause cut out of a longer question, closed as a question of its own."""
    core = _DANGLING.sub("", clause).strip()
    return core + ("？" if any("\u4e00" <= c <= "\u9fff" for c in core) else "?")


def _asks(clause: str) -> bool:
    """Whether a clause asks something by itself: neither a setting nor a "where?" of another."""
    text = fold(clause)
    if ASKS.search(text) is None:
        return False
    return NAMES_TISSUE.search(text) is not None or bool(named_regions(text))
