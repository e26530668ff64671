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
from ruichat.errors import InputError, MissingMppError, NotFoundError, RuiChatError
from ruichat.histology import Language

if TYPE_CHECKING:
    from ruichat.chat.ask import SlideChat, Watch

SCHEMA = "ruichat.case_answer/1"

MAX_SLIDES = 12
"""Slides that one question may be about; ours: each costs the time of an answer."""

Rule = Literal["any", "each"]
"""How answers about slides become one: yes if any says yes, or each for itself."""

Polarity = Literal["yes", "no"]

NotAsked = texts.NotAsked

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
class LeftOut:
    """A slide of a case that wasn't asked.

    Attributes:
        letter: that it would have in the answer.
        slide: the caller's name for it.
        reason: why it wasn't asked.
    """

    letter: str
    slide: str
    reason: NotAsked


@dataclass(frozen=True)
class CaseAnswer:
    """One answer about several slides.

    Attributes:
        text: what each slide answers, by letters, with citations as [A·R7]; then the rule.
        question: as asked, cleaned.
        language: of the wordings.
        rule: how the slides were brought together.
        parts: in the order of the slides.
        left_out: slides that couldn't be asked, in their order.
    """

    text: str
    question: str
    language: Language
    rule: Rule
    parts: tuple[SlideAnswer, ...]
    left_out: tuple[LeftOut, ...] = ()

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
            "left_out": [
                {"letter": one.letter, "slide": one.slide, "reason": one.reason}
                for one in self.left_out
            ],
        }


def ask_case(
    chats: Mapping[str, SlideChat | NotAsked],
    question: str,
    *,
    language: Language | None = None,
    watch: Watch | None = None,
) -> Generator[str | Thought | CaseAnswer]:
    """Ask several slides the same question.

    A question that names a region as A·R7 goes to that slide alone.

    Args:
        chats: by the caller's names of the slides, in the order of their letters; of a slide that
            can't be asked, the reason.
        question: as typed.
        language: of the wordings around the answers; None follows the question.
        watch: called before each piece; what it raises ends the answer.

    Yields:
        Words and thoughts of each slide in turn; last the whole `CaseAnswer`.

    Raises:
        InputError: the question is empty or too long, there are too many slides, or none of those
            that it is about can be asked.
    """
    num_asked = sum(not isinstance(chat, str) for chat in chats.values())
    if not 1 <= num_asked <= MAX_SLIDES:
        raise InputError(
            f"the question is about {num_asked} slides; 1 to {MAX_SLIDES} are allowed",
            hint="Choose the slides that matter",
        )
    asked = clean_question(question)
    language = language or question_language(asked)
    letters = {_letter(index): slide for index, slide in enumerate(chats)}
    wanted = _named_letters(asked, letters)
    plain = _LETTERED.sub(r"R\2", asked) if wanted else asked
    parts: list[SlideAnswer] = []
    left_out: list[LeftOut] = []
    text = ""
    for letter in wanted or letters:
        chat = chats[letters[letter]]
        if isinstance(chat, str):
            left_out.append(LeftOut(letter, letters[letter], chat))
            continue
        head = ("\n\n" if parts else "") + texts.slide_heading(letter, language)
        yield head
        part = yield from _ask_slide(letter, letters[letter], chat, plain, watch)
        parts.append(part)
        text += head + lettered(part.answer.text, letter)
    if not parts:
        told = texts.slides_left_out(_by_reason(left_out), MAX_SLIDES, "en")
        raise InputError(told.rstrip("."), hint="Ask about another slide")
    rule = choose_rule(asked, parts, left_out)
    closing_words = "\n\n" + _summary(rule, parts, left_out, language)
    yield closing_words
    yield CaseAnswer(
        text + closing_words, asked, language, rule, tuple(parts), left_out=tuple(left_out)
    )


def why_not(error: RuiChatError) -> NotAsked:
    """Why a slide isn't asked that failed to be read."""
    if isinstance(error, MissingMppError):
        return "no_resolution"
    return "gone" if isinstance(error, NotFoundError) else "unreadable"


def lettered(text: str, letter: str) -> str:
    """An answer's text with citations that name its slide: [R7] becomes [A·R7]."""
    return CITATION.sub(rf"[{letter}·R\1]", text)


def choose_rule(
    question: str, parts: Sequence[SlideAnswer], left_out: Sequence[LeftOut] = ()
) -> Rule:
    """How these answers may be brought together.

    Whether a tissue is there can be answered for all slides if each says yes or no, or stays
    open; all else is left to each slide.
    """
    asks_presence = question_kind(question) in _PRESENCE and bool(mentions(question))
    decided = [part for part in parts if part.polarity is not None]
    is_told = all(part.polarity or part.answer.abstained for part in parts)
    are_several = len(parts) + len(left_out) > 1
    return "any" if asks_presence and is_told and decided and are_several else "each"


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


def _letter(index: int) -> str:
    """As the columns of a table are named: A to Z, then AA."""
    before, last = divmod(index, len(ascii_uppercase))
    return (_letter(before - 1) if before else "") + ascii_uppercase[last]


def _summary(
    rule: Rule, parts: Sequence[SlideAnswer], left_out: Sequence[LeftOut], language: Language
) -> str:
    if rule == "each":
        told = texts.each_slide(language)
    else:
        groups: dict[Polarity | None, list[str]] = {"yes": [], "no": [], None: []}
        for part in parts:
            groups[part.polarity].append(part.letter)
        unknown = [one.letter for one in left_out]
        told = texts.any_slide(groups["yes"], groups["no"], groups[None], unknown, language)
    if not left_out:
        return told
    return texts.slides_left_out(_by_reason(left_out), MAX_SLIDES, language) + "\n\n" + told


def _by_reason(left_out: Sequence[LeftOut]) -> dict[NotAsked, list[str]]:
    """Letters of slides by why they weren't asked."""
    found: dict[NotAsked, list[str]] = {}
    for one in left_out:
        found.setdefault(one.reason, []).append(one.letter)
    return found
