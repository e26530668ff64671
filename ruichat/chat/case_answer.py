"""Several slides of a case answer one question: each for itself, then by a stated rule together."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Literal

from ruichat.chat import texts
from ruichat.chat.answer import AI_LABEL, Answer, Thought
from ruichat.chat.question import clean_question, question_kind, question_language
from ruichat.chat.sentences import CITATION
from ruichat.chat.support import mentions
from ruichat.errors import InputError
from ruichat.histology import Language

if TYPE_CHECKING:
    from ruichat.chat.ask import SlideChat, Watch

SCHEMA = "ruichat.case_answer/1"

MAX_SLIDES = 12
"""Slides that one question may be about; ours: each costs the time of an answer."""

Rule = Literal["any", "each"]
"""How answers about slides become one: yes if any says yes, or each for itself."""

Polarity = Literal["yes", "no"]

_PRESENCE = ("presence", "presence_where")
_YES = re.compile(r"\s*(?:yes\b|是[，。]|有|可见)", re.IGNORECASE)
_NO = re.compile(r"\s*(?:no\b(?!\s+abnormal)|否[，。]|未见(?!异常)|没有)", re.IGNORECASE)
_LETTERED = re.compile(r"(?<![A-Za-z])\[?([A-Z])\s?[·・.:-]\s?R(\d{1,4})\]?", re.IGNORECASE)


@dataclass(frozen=True)
class SlideAnswer:
    """What one slide of a case answers.

    Attributes:
        letter: of the slide in the answer, A for the first.
        slide: the caller's name for it.
        answer: about it alone.
    """

    letter: str
    slide: str
    answer: Answer

    @property
    def polarity(self) -> Polarity | None:
        """Whether it says yes or no, by how it begins; None where it does neither."""
        if self.answer.abstained:
            return None
        text = texts.without_qualifier(self.answer.text)
        return "yes" if _YES.match(text) else "no" if _NO.match(text) else None


@dataclass(frozen=True)
class CaseAnswer:
    """One answer about several slides.

    Attributes:
        text: what each slide answers, by letters, with citations as [A·R7]; then the rule.
        question: as asked, cleaned.
        language: of the wordings.
        rule: how the slides were brought together.
        parts: in the order of the slides.
    """

    text: str
    question: str
    language: Language
    rule: Rule
    parts: tuple[SlideAnswer, ...]

    @property
    def was_cut(self) -> bool:
        """Whether what any slide answers ends where it had become too long."""
        return any(part.answer.was_cut for part in self.parts)

    def to_json(self) -> dict[str, object]:
        """The answer as plain JSON values."""
        return {
            "schema": SCHEMA,
            "label": AI_LABEL[self.language],
            "question": self.question,
            "text": self.text,
            "language": self.language,
            "rule": self.rule,
            "slides": [
                {
                    "letter": part.letter,
                    "slide": part.slide,
                    "polarity": part.polarity,
                    "answer": part.answer.to_json(),
                }
                for part in self.parts
            ],
        }


def ask_case(
    chats: Mapping[str, SlideChat],
    question: str,
    *,
    language: Language | None = None,
    watch: Watch | None = None,
) -> Generator[str | Thought | CaseAnswer]:
    """Ask several slides the same question.

    A question that names a region as A·R7 goes to that slide alone.

    Args:
        chats: by the caller's names of the slides, in the order of their letters.
        question: as typed.
        language: of the wordings around the answers; None follows the question.
        watch: called before each piece; what it raises ends the answer.

    Yields:
        Words and thoughts of each slide in turn; last the whole `CaseAnswer`.

    Raises:
        InputError: the question is empty or too long, or there are too many slides.
    """
    if not 1 <= len(chats) <= MAX_SLIDES:
        raise InputError(
            f"the question is about {len(chats)} slides; 1 to {MAX_SLIDES} are allowed",
            hint="Choose the slides that matter",
        )
    asked = clean_question(question)
    language = language or question_language(asked)
    letters = dict(zip(ascii_uppercase, chats, strict=False))
    wanted = _named_letters(asked, letters)
    plain = _LETTERED.sub(r"R\2", asked) if wanted else asked
    parts: list[SlideAnswer] = []
    text = ""
    for letter in wanted or letters:
        head = ("\n\n" if parts else "") + texts.slide_heading(letter, language)
        yield head
        part = yield from _ask_slide(letter, letters[letter], chats[letters[letter]], plain, watch)
        parts.append(part)
        text += head + lettered(part.answer.text, letter)
    rule = choose_rule(asked, parts)
    closing_words = "\n\n" + _summary(rule, parts, language)
    yield closing_words
    yield CaseAnswer(text + closing_words, asked, language, rule, tuple(parts))


def lettered(text: str, letter: str) -> str:
    """An answer's text with citations that name its slide: [R7] becomes [A·R7]."""
    return CITATION.sub(rf"[{letter}·R\1]", text)


def choose_rule(question: str, parts: Sequence[SlideAnswer]) -> Rule:
    """How these answers may be brought together.

    Whether a tissue is there can be answered for all slides if each says yes or no, or stays
    open; all else is left to each slide.
    """
    asks_presence = question_kind(question) in _PRESENCE and bool(mentions(question))
    decided = [part for part in parts if part.polarity is not None]
    is_told = all(part.polarity or part.answer.abstained for part in parts)
    return "any" if asks_presence and is_told and decided and len(parts) > 1 else "each"


def _ask_slide(
    letter: str, name: str, chat: SlideChat, question: str, watch: Watch | None
) -> Generator[str | Thought, None, SlideAnswer]:
    with closing(chat.ask(question, watch=watch)) as events:
        for event in events:
            if isinstance(event, Answer):
                return SlideAnswer(letter, name, event)
            yield lettered(event, letter) if isinstance(event, str) else event
    raise AssertionError("an answer ends with an Answer")


def _named_letters(question: str, letters: Mapping[str, str]) -> tuple[str, ...]:
    named = [match.group(1).upper() for match in _LETTERED.finditer(question)]
    for letter in named:
        if letter not in letters:
            raise InputError(
                f"there is no slide {letter}; the question is about {', '.join(letters)}",
                hint="Name a region as A·R7, or ask about more slides",
            )
    return tuple(dict.fromkeys(named))


def _summary(rule: Rule, parts: Sequence[SlideAnswer], language: Language) -> str:
    if rule == "each":
        return texts.each_slide(language)
    groups: dict[Polarity | None, list[str]] = {"yes": [], "no": [], None: []}
    for part in parts:
        groups[part.polarity].append(part.letter)
    return texts.any_slide(groups["yes"], groups["no"], groups[None], language)
