"""What a question's asker is told while it is answered, in this order."""

from __future__ import annotations

from dataclasses import dataclass

from ruichat.chat.answer import Answer
from ruichat.chat.ask import NO_USAGE
from ruichat.chat.case_answer import CaseAnswer
from ruichat.errors import RuiChatError
from ruichat.model.chat_model import Usage


@dataclass(frozen=True, slots=True)
class Waiting:
    """Others are answered first.

    Attributes:
        position: place in the queue; 1 is next, 0 means that the answer is being written.
    """

    position: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A slide is being read for the first time, or again.

    Attributes:
        slide_id: of the slide.
        stage: "model" while that is loaded, "queued" behind other slides, "slide",
            "features" (tiles), "facts" or "prompt".
        done: items of the stage done.
        total: items in all; 0 where they aren't counted.
    """

    slide_id: str
    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ThoughtWords:
    """The model's thought, unchecked, as it is to be shown."""

    text: str


@dataclass(frozen=True, slots=True)
class Words:
    """The next words of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The last event.

    Attributes:
        answer: the whole answer, a `CaseAnswer` where several slides were asked.
        usage: text tokens that it took; None where they aren't known.
    """

    answer: Answer | CaseAnswer
    usage: Usage | None = NO_USAGE


@dataclass(frozen=True, slots=True)
class Failed:
    """Why there is no answer; the last event."""

    error: RuiChatError


@dataclass(frozen=True, slots=True)
class Stopped:
    """Somebody cancelled the question; the last event."""


Event = Waiting | Reading | ThoughtWords | Words | Done | Failed | Stopped
"""The words of an answer, joined, are not always its text: `Done` holds what counts."""
