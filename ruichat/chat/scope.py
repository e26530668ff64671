"""What a message asks, before any model reads it: the slide, the program, or nothing at all."""

from __future__ import annotations

import re

from ruichat.chat.guard import fold
from ruichat.chat.question import named_regions, question_kind
from ruichat.chat.question_words import (
    ABOUT_SLIDE,
    ASKS,
    FOLLOWS,
    GREETING,
    NAMES_TISSUE,
    POINTS_BACK,
    SHORT_FORMS,
)
from ruichat.chat.support import names_tissue_class
from ruichat.histology import Language

_NOTE = re.compile(
    r"^\W*(?:any\s+)?(?P<noun>[A-Za-z][A-Za-z -]{1,60}?|[\u4e00-\u9fff]{1,16})"
    r"(?:\s+(?:present|seen|visible|here))?\W*$",
    re.IGNORECASE,
)

_MARKED = r"(?:drawn|marked|selected|outlined|highlighted)\s+"
_DRAWN = re.compile(
    rf"\b(?:(?:this|that)\s+(?:{_MARKED})?|the\s+{_MARKED})"
    r"(?:region|area|rectangle|polygon|box|selection|part|spot)\b(?!\s*R?\d)",
    re.IGNORECASE,
)
_DRAWN_ZH = re.compile(
    r"(?:(?:这|那|该|此)(?:个|块|片|处|里的?)?(?:所?(?:画|选|框|圈|标){1,2}(?:出|定|中)?的?)?|"
    r"所?(?:画|选|框|圈|标){1,2}(?:出|定|中)?的?)(?:区域|部位|地方|范围|选区|矩形|多边形|框)(?!\s*R?\d)"
)


def is_greeting(question: str) -> bool:
    """Whether it greets, thanks, or asks what the program can do, and nothing else."""
    return GREETING.match(fold(question)) is not None


def is_about_slide(question: str) -> bool:
    """Whether it has a word about tissue, a region or the slide, or asks as one asks of a slide."""
    text = fold(question)
    if _names_something(text) or ABOUT_SLIDE.search(text) is not None:
        return True
    return question_kind(text) != "other"


def as_slide(question: str) -> str:
    """A question about "this region", drawn by a person, as the same about "this slide".

    What was drawn is read like a slide of its own, and the model has learned what slides are.
    """
    return _DRAWN_ZH.sub("这张切片", _DRAWN.sub("this slide", question))


def follows_up(question: str) -> bool:
    """Whether it needs the question before: "and where is it?", "what about fat?"."""
    text = fold(question)
    if FOLLOWS.search(text) is not None:
        return True
    if _names_something(text):
        return False
    return ASKS.search(text) is not None or POINTS_BACK.search(text) is not None


def spell_out(question: str, language: Language) -> str:
    """A jotted note as the question it stands for; any other question as it is.

    "Necrosis?" and "any necrosis" become "Is there necrosis?", "坏死" becomes "有坏死吗？".
    """
    text = fold(question).strip()
    for pattern, full in SHORT_FORMS:
        if pattern.match(text):
            return full
    note = _NOTE.match(text)
    if note is None or not names_tissue_class(note["noun"]):
        return question
    noun = note["noun"].strip()
    return f"有{noun}吗？" if language == "zh" else f"Is there {noun}?"


def _names_something(text: str) -> bool:
    return NAMES_TISSUE.search(text) is not None or bool(named_regions(text))
