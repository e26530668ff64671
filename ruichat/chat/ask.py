"""From a slide and a question to a streamed, checked, calibrated answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from pydantic import Field

from ruichat.chat.answer import Answer, Thought
from ruichat.chat.backend import Backend, load_backend
from ruichat.chat.context import ContextUse, quoted_context
from ruichat.chat.drawn import read_drawn
from ruichat.chat.facts import SlideFacts
from ruichat.chat.model_options import ModelOptions
from ruichat.chat.question import MAX_QUESTION_CHARS
from ruichat.chat.reading import Clock, Progress, ReadSlide, read_slide, session_bytes
from ruichat.chat.reply import answer_question
from ruichat.chat.scope import follows_up
from ruichat.chat.view import SlideView, region_means
from ruichat.config import Config
from ruichat.histology import Language
from ruichat.model.chat_model import Usage

if TYPE_CHECKING:
    from ruichat.chat.outline import Outline0
    from ruichat.model.chat_model import ChatSession
    from ruichat.slide.slide import Slide

__all__ = [
    "AskConfig",
    "Clock",
    "Progress",
    "SlideChat",
    "load_backend",
    "open_chat",
    "region_means",
]

Watch = Callable[[], None]
"""Called before each piece of an answer, also of those that aren't shown; raises to end it."""

MAX_REPLAYED = 3
"""Earlier questions that are asked again, at most, so that one that goes on from them is read as
it was meant; ours: each costs the time of an answer."""


class AskConfig(Config):
    """How a slide is asked."""

    model: str = "mini"
    """Name of an embedded model, a model folder, "hub:OWNER/NAME" or "openai:NAME"."""
    options: ModelOptions = ModelOptions()
    """How models that aren't ours are loaded, and what they are shown."""
    mpp: float | None = None
    """Micrometres per pixel, used only where the file states none; judged on opening the slide."""
    icc: bool = False
    """Whether colours are converted to sRGB by the slide's ICC profile."""
    max_tokens: int = Field(default=160, gt=0)
    """Longest answer, text tokens."""
    max_question_chars: int = Field(default=MAX_QUESTION_CHARS, gt=0)
    """Longest question, characters."""
    language: Language | None = None
    """Language of fixed wordings; None follows the question. The model always follows it."""
    thumbnail_px: int = Field(default=1600, gt=0)
    """Longer side of the overlay's thumbnail, pixels."""
    think: bool = False
    """Whether the model thinks before it answers."""
    show_thinking: bool = False
    """Whether its thought is shown before the answer."""
    context: str = ""
    """What people say about the case; told to models that take it, as data."""


NO_USAGE = Usage()
"""Of an answer for which no model was asked."""


class SlideChat:
    """One slide, encoded once, and the questions asked about it; a context manager.

    Args:
        read: the slide as the model has read it.
        config: how it is asked.
        slide: its open file, closed with the chat; None where somebody else keeps it.
        seconds: wall-clock seconds by stage of opening it, told with the first answer.

    Attributes:
        read: the slide as the model has read it.
        seconds: wall-clock seconds by stage of opening it.
        usage: of the last answer; None where its model doesn't say.
    """

    def __init__(
        self,
        read: ReadSlide,
        config: AskConfig,
        slide: Slide | None = None,
        seconds: dict[str, float] | None = None,
    ) -> None:
        self.read = read
        self.seconds = seconds or {}
        self.usage: Usage | None = NO_USAGE
        self._slide = slide
        self._fresh = read.session
        self._last: ChatSession | None = None
        self._config = config
        self._unrecorded_s = self.seconds
        self._language: Language = "en"
        self._thumbnail: UInt8[NDArray[np.uint8], "h w 3"] | None = None

    def __enter__(self) -> SlideChat:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the slide's file."""
        if self._slide is not None:
            self._slide.close()

    @property
    def view(self) -> SlideView:
        """What is known of the slide."""
        return self.read.view

    @property
    def facts(self) -> SlideFacts:
        """What was measured."""
        return self.view.facts

    @property
    def sends_to(self) -> str:
        """Address of another machine that gets pictures with each question; "" if none."""
        return self.read.backend.sends_to

    @property
    def num_bytes(self) -> int:
        """Memory that the dialogue keeps beside the slide, about."""
        return 0 if self._last is None else session_bytes(self._last)

    def let_think(self, think: bool, *, show: bool = False) -> None:
        """Whether the model thinks before the next answers, and whether its thoughts are shown."""
        self.change(think=think, show_thinking=show)

    def change(self, **update: object) -> None:
        """Ask the next questions with other settings; see `AskConfig`."""
        self._config = self._config.model_copy(update=update)

    def ask(
        self, question: str, *, watch: Watch | None = None
    ) -> Generator[str | Thought | Answer]:
        """Answer one question.

        Reads no tile and encodes nothing. Only a question that goes on from the one before
        ("and where is it?") is read together with it: what else was asked earlier can't sway an
        answer about the slide. An answer that is cancelled by closing the iterator, or that was
        too unsure to be shown, is forgotten.

        Args:
            question: as typed.
            watch: called before each piece of the model's; what it raises ends the answer.

        Yields:
            The thought, if it is to be shown; words of the answer as they may be shown; and last
            the whole `Answer`.

        Raises:
            InputError: the question is empty or too long.
            ModelError: the model failed, or can't think.
        """
        continues = self._last is not None and follows_up(question)
        session = (self._last if continues and self._last else self._fresh).fork()
        view, written, use = self.view, 0, self._inform(session, continues=continues)

        def count() -> None:
            nonlocal written
            written += 1
            if watch is not None:
                watch()

        self.usage = NO_USAGE
        if self._config.think:
            view = dataclasses.replace(view, calibration=self.read.backend.thinking_calibration)
        events = answer_question(
            question,
            view,
            session,
            config=self._config,
            opening_s=self._unrecorded_s,
            default_language=self._language,
            continues=continues,
            watch=count,
        )
        with closing(events):
            for event in events:
                if isinstance(event, Answer):
                    # What the model wasn't asked, it wasn't told anything for.
                    told = use if written or use == "none" else "unread"
                    # Words that are withheld, or are not the model's, were cut by nobody.
                    is_shown = written > 0 and event.reason not in ("low_confidence", "disputed")
                    was_cut = is_shown and bool(getattr(session, "was_cut", False))
                    event = dataclasses.replace(event, context=told, was_cut=was_cut)
                    self._language, self._unrecorded_s = event.language, {}
                    if written:
                        self.usage = getattr(session, "usage", None)
                    if event.claims or event.reason in (None, "model"):
                        self._last = session
                yield event

    def _inform(self, session: ChatSession, *, continues: bool) -> ContextUse:
        """Tell a dialogue what people say about the case, where its model takes it."""
        from ruichat.model.chat_model import CaseListener

        context = self._config.context.strip()
        if not context:
            return "none"
        if not self.read.backend.reads_context or not isinstance(session, CaseListener):
            return "unread"
        if not continues:
            session.know(quoted_context(context))
        return "read"

    def recall(self, earlier: Sequence[str], question: str, *, watch: Watch | None = None) -> None:
        """Get ready for a question that goes on from earlier ones which this chat never heard.

        They are asked again, which gives the same answers, as answers are greedy. Nothing
        happens where the chat has heard a question, or where the next one stands alone.

        Args:
            earlier: questions of the dialogue so far, the oldest first.
            question: the next one.
            watch: as of `ask`.
        """
        if self._last is not None or not follows_up(question):
            return
        first = len(earlier)
        while first > 0 and len(earlier) - first < MAX_REPLAYED:
            first -= 1
            if not follows_up(earlier[first]):
                break
        for asked in earlier[first:]:
            for _ in self.ask(asked, watch=watch):
                pass

    def within(self, outline: Outline0) -> SlideChat:
        """A chat about a region drawn on the slide; this one stays, and keeps the file open.

        Raises:
            InputError: it lies beside the slide, is smaller than a tile, or holds no tissue.
        """
        chat = SlideChat(read_drawn(self.read, outline), self._config, self._slide, self.seconds)
        chat._thumbnail = self._thumbnail
        return chat

    def forget(self) -> None:
        """Forget the questions so far; the slide stays read."""
        self._last = None

    def thumbnail(self) -> UInt8[NDArray[np.uint8], "h w 3"]:
        """Small view of the slide, [h, w, 3]; read once, while the file is open."""
        if self._thumbnail is None:
            assert self._slide is not None
            self._thumbnail = self._slide.thumbnail(self._config.thumbnail_px)
        return self._thumbnail


def open_chat(
    path: Path,
    config: AskConfig | None = None,
    *,
    backend: Backend | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> SlideChat:
    """Open a slide, encode it once, and get ready for questions.

    Args:
        path: slide file or DICOM folder.
        config: settings; defaults if None.
        backend: loaded model; loaded by name if None.
        cache: where bags are kept; the user's cache folder if None.
        progress: called as stages begin and tiles are done.

    Raises:
        InputError: the slide can't be read or shows no tissue.
        PrerequisiteError: weights or packages are missing.
        ArtifactError: the cache can't be written.
    """
    from ruichat.slide.opening import open_slide

    config = config or AskConfig()
    clock = Clock(progress)
    with clock.stage("slide"):
        slide = open_slide(path, mpp=config.mpp, icc=config.icc)
    try:
        with clock.stage("model"):
            backend = backend or load_backend(config.model, config.options)
        read = read_slide(slide, backend, cache=cache, clock=clock)
    except BaseException:
        slide.close()
        raise
    return SlideChat(read, config, slide, clock.seconds)
