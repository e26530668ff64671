"""A chat as the page draws it: plain values, of an answer what is shown and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from sqlalchemy.orm import Session

from ruichat.chat.facts import Share
from ruichat.chat.geojson import UNCLASSIFIED_COLOR
from ruichat.chat.sentences import CITATION
from ruichat.chat.texts import alternatives_line
from ruichat.errors import NotFoundError
from ruichat.histology import BY_KEY, Language
from ruichat.storage.database import chats, regions
from ruichat.storage.database.models import Message

ALONE = ("diagnosis_class", "confidence", "abstained", "reason")
"""What an answer about one slide says of itself."""

LISTED = ("claims", "citations")
"""What answers about several slides bring each for itself."""

TOLD = ("errors", "warnings")
"""What may hold of several slides alike, and is then said once."""

Shown = dict[str, Any]
"""JSON values."""


@dataclass(frozen=True)
class ChatShown:
    """A chat with its messages, at one moment.

    Attributes:
        chat_id: None before the first question.
        case_id: of its case.
        created_at: ISO 8601.
        messages: see `message_shown`.
    """

    chat_id: str | None = None
    case_id: str | None = None
    created_at: str = ""
    messages: tuple[Shown, ...] = ()


def read_chat(session: Session, chat_id: str, *, user_id: str) -> ChatShown:
    """A chat as it is kept.

    Raises:
        NotFoundError: there is no such chat for the user.
    """
    chat = chats.get_chat(session, chat_id, user_id=user_id)
    messages = chats.list_messages(session, chat_id, user_id=user_id)
    names = _region_names(session, messages, user_id=user_id)
    return ChatShown(
        chat_id=chat.id,
        case_id=chat.case_id,
        created_at=chat.created_at.isoformat(),
        messages=tuple(
            message_shown(message, names, answer)
            for message, answer in zip_longest(messages, messages[1:])
        ),
    )


def message_shown(
    message: Message, region_names: Mapping[str, str], answer: Message | None
) -> Shown:
    """One turn.

    Args:
        region_names: by id, of regions that questions are about.
        answer: what follows it.
    """
    region = None
    if message.region_id is not None and message.region_id in region_names:
        region = {"id": message.region_id, "name": region_names[message.region_id]}
    return {
        "id": message.id,
        "role": message.role,
        "text": message.text,
        "thought": message.thought,
        "state": message.state,
        "feedback": message.feedback,
        "feedback_reason": message.feedback_reason,
        "slide_ids": message.slide_ids,
        "region": region,
        "region_deleted": answer is not None and has_lost_region(answer),
        "answer": None if message.answer is None else answer_shown(message),
    }


def has_lost_region(answer: Message) -> bool:
    """Whether an answer is about a region that was deleted since: only its JSON remembers that."""
    return answer.region_id is None and bool((answer.answer or {}).get("drawn"))


def answer_shown(message: Message) -> Shown:
    """What stands behind an answer, of the JSON that is kept of it.

    Of an answer about several slides, names carry their slide's letter, as in its text.
    """
    answer: Mapping[str, Any] = message.answer or {}
    if "slides" in answer:
        parts = [
            _part_shown(part["answer"], part["slide"], f"{part['letter']}·")
            for part in answer["slides"]
        ]
        alone = {key: None for key in ALONE} | {"abstained": all(p["abstained"] for p in parts)}
        joined = {key: [item for part in parts for item in part[key]] for key in LISTED}
        joined |= {key: _told_of(answer["slides"], key) for key in TOLD}
        was_cut = any(part["was_cut"] for part in parts)
        model = parts[0]["model"]
        rest = {"leading": None, "model": model, "was_cut": was_cut}
        return alone | joined | rest | {"letters": _letters(answer)}
    slide_id = message.slide_ids[0] if message.slide_ids else None
    return _part_shown(answer, slide_id, "") | {"letters": []}


def _letters(answer: Mapping[str, Any]) -> list[dict[str, str]]:
    """How an answer about several slides calls each, though the case holds others by now."""
    named = [*answer["slides"], *answer.get("left_out", [])]
    letters = [{"letter": one["letter"], "slide_id": one["slide"]} for one in named]
    return sorted(letters, key=lambda one: one["letter"])


def _told_of(slides: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    """What is said of slides, once, with the letters of those it is said of before it."""
    letters: dict[str, list[str]] = {}
    for slide in slides:
        for words in dict.fromkeys(slide["answer"].get(key, [])):
            letters.setdefault(words, []).append(slide["letter"])
    return [f"{', '.join(of)}: {words}" for words, of in letters.items()]


def _part_shown(answer: Mapping[str, Any], slide_id: str | None, letter: str) -> Shown:
    return {key: answer.get(key) for key in ALONE} | {
        "model": answer.get("model"),
        "was_cut": answer.get("was_cut", False),
        "claims": [
            {
                "text": CITATION.sub(rf"[{letter}R\1]", claim["text"]),
                "citations": [letter + name for name in claim["citations"]],
                "grounded": claim["grounded"],
            }
            for claim in answer.get("claims", [])
        ],
        "citations": [
            {
                "name": letter + citation["name"],
                "slide_id": slide_id,
                "box0": citation["box0"],
                "shows": citation.get("shows"),
                "color": color_of(citation.get("shows")),
            }
            for citation in answer.get("citations", [])
        ],
        "leading": _leading(answer),
        "errors": answer.get("errors", []),
        "warnings": answer.get("warnings", []),
    }


def _leading(answer: Mapping[str, Any]) -> dict[Language, str] | None:
    """What the tissue beside an answer that isn't definite mostly is, in both languages.

    None where the answer's own words say it, and of classes that this version doesn't know.
    """
    if answer.get("abstained"):
        return None
    kept = answer.get("alternatives", [])
    shares = [Share(one["key"], one["fraction"]) for one in kept if one["key"] in BY_KEY]
    if not shares:
        return None
    cited, place = bool(answer.get("citations")), "region" if answer.get("drawn") else "slide"
    in_words = functools.partial(alternatives_line, shares, cited=cited, place=place)
    return {"en": in_words("en"), "zh": in_words("zh")}


def color_of(tissue: str | None) -> tuple[int, int, int]:
    """RGB of a tissue class; grey where none is named, or one of another version."""
    found = BY_KEY.get(tissue or "")
    return UNCLASSIFIED_COLOR if found is None else found.color


def _region_names(session: Session, messages: Sequence[Message], *, user_id: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for region_id in {message.region_id for message in messages} - {None}:
        assert region_id is not None
        try:
            names[region_id] = regions.get_region(session, region_id, user_id=user_id).name
        except NotFoundError:
            continue  # deleted between two reads
    return names
