"""Sentences of an answer, English and Chinese, and the citations inside them."""

from __future__ import annotations

import re

CITATION = re.compile(r"\[R(\d{1,4})\]")
"""How a region is named in text: the vocabulary piece "[R7]"."""

_STOP = re.compile(r"[。！？!?]+[\"'”’)）】」]*|\.+[\"'”’)]*(?=\s|\[R|$)|\n+")
_TRAILING_CITATIONS = re.compile(r"(?:\s*\[R\d{1,4}\])+")
_BLANK = re.compile(r"\s*")
_LAST_WORD = re.compile(r"([A-Za-z][A-Za-z.]*|\d+)$")

_ABBREVIATIONS = frozenset({"e.g", "i.e", "approx", "vs", "ca", "fig", "cf", "al", "dr", "incl"})

_ABSTENTION = re.compile(
    r"\b(?:cannot|can't|can not|could not|unable to|not possible to)\b.{0,40}?"
    r"\b(?:determin\w*|tell|told|say|said|judg\w*|answer\w*|assess\w*|read|see[n]?|infer\w*|show\w*)"
    r"|\bundetermined\b"
    r"|无法(?:判定|判断|确定|评估|回答|得知|看出|从|据此)|不能(?:判定|判断|确定|评估|回答|看出|据此)|难以(?:判定|判断|确定)",
    re.IGNORECASE | re.DOTALL,
)


def split_sentences(text: str) -> list[str]:
    """Cut text into sentences whose concatenation is the text.

    Citations that follow a full stop belong to the sentence they follow ("... glands. [R7]"),
    unless they open the next one ("... glands. [R7] shows necrosis").
    """
    parts: list[str] = []
    start = 0
    position = 0
    while match := _STOP.search(text, position):
        position = match.end()
        if _is_inside_sentence(text, match.start(), match.group(), start):
            continue
        end = _with_trailing_citations(text, start, match.end())
        end = _skip_blank(text, end)
        parts.append(text[start:end])
        start = position = end
    if start < len(text):
        parts.append(text[start:])
    return _join_blank(parts)


def cited_names(text: str) -> tuple[str, ...]:
    """Region names in the text, in order, each once: ("R7", "R12")."""
    return tuple(dict.fromkeys(f"R{int(number)}" for number in CITATION.findall(text)))


def is_abstention(sentence: str) -> bool:
    """Whether the sentence says that something can't be told, so that it claims nothing."""
    return _ABSTENTION.search(sentence) is not None


def is_claim(sentence: str) -> bool:
    """Whether the sentence states something about the slide.

    Questions, abstentions and bare lists of citations state nothing.
    """
    words = CITATION.sub("", sentence).strip(" \t\n.,;:。，；：、")
    asks = sentence.rstrip().endswith(("?", "？"))
    return bool(words) and not asks and not is_abstention(sentence)


def _is_inside_sentence(text: str, at: int, stop: str, start: int) -> bool:
    """Whether a full stop ends an abbreviation, an initial or a list number, not a sentence."""
    if not stop.startswith(".") or len(stop) > 1:
        return False
    word = _LAST_WORD.search(text[start:at])
    if word is None:
        return False
    found = word.group(1)
    if found.isdigit():
        return not text[start : start + word.start()].strip()
    initial = len(found) == 1 and found.isupper() and found != "I"
    return initial or found.lower() in _ABBREVIATIONS


def _with_trailing_citations(text: str, start: int, end: int) -> int:
    match = _TRAILING_CITATIONS.match(text, end)
    if match is None or CITATION.search(text[start:end]):
        return end
    rest = text[match.end() :].lstrip()
    opens_next = bool(rest) and not (rest[0].isupper() and rest[0].isascii())
    return end if opens_next else match.end()


def _skip_blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _join_blank(parts: list[str]) -> list[str]:
    """Attach parts without any word to their neighbour; nothing is dropped."""
    joined: list[str] = []
    for part in parts:
        if joined and (not part.strip() or not joined[-1].strip()):
            joined[-1] += part
        else:
            joined.append(part)
    return joined
