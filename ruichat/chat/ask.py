"""From a slide and a question to a streamed, checked, calibrated answer."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from pydantic import Field

from ruichat.chat.answer import Answer, SlideRecord, Thought
from ruichat.chat.backend import Backend, load_backend
from ruichat.chat.facts import (
    SlideFacts,
    TileReading,
    facts_text,
    measure_facts,
    tiles_to_read,
)
from ruichat.chat.model_options import ModelOptions
from ruichat.chat.question import MAX_QUESTION_CHARS
from ruichat.chat.reply import answer_question
from ruichat.chat.scope import follows_up
from ruichat.chat.view import SlideView, region_means
from ruichat.config import Config
from ruichat.histology import Language
from ruichat.model.regions import split_regions

if TYPE_CHECKING:
    from ruichat.chat.calibration import Calibration
    from ruichat.features.bag import FeatureBag
    from ruichat.model.chat_model import ChatSession
    from ruichat.slide.slide import Slide

__all__ = ["AskConfig", "SlideChat", "load_backend", "open_chat", "region_means"]

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, items done and items in all (0, 0 when it merely begins)."""


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


class SlideChat:
    """One slide, encoded once, and the questions asked about it; a context manager.

    Attributes:
        view: what is known of the slide.
        seconds: wall-clock seconds by stage of opening it.
        sends_to: address of another machine that gets pictures with each question; "" if none.
    """

    def __init__(
        self,
        slide: Slide,
        view: SlideView,
        session: ChatSession,
        config: AskConfig,
        seconds: dict[str, float],
        thinking_calibration: Calibration | None = None,
        *,
        sends_to: str = "",
    ) -> None:
        self.view = view
        self.sends_to = sends_to
        self._thinking_calibration = thinking_calibration
        self.seconds = seconds
        self._slide = slide
        self._fresh = session
        self._last: ChatSession | None = None
        self._config = config
        self._unrecorded_s = seconds
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
        self._slide.close()

    @property
    def facts(self) -> SlideFacts:
        """What was measured."""
        return self.view.facts

    def let_think(self, think: bool, *, show: bool = False) -> None:
        """Whether the model thinks before the next answers, and whether its thoughts are shown."""
        update = {"think": think, "show_thinking": show}
        self._config = self._config.model_copy(update=update)

    def ask(self, question: str) -> Generator[str | Thought | Answer]:
        """Answer one question.

        Reads no tile and encodes nothing. Only a question that goes on from the one before
        ("and where is it?") is read together with it: what else was asked earlier can't sway an
        answer about the slide. An answer that is cancelled by closing the iterator, or that was
        too unsure to be shown, is forgotten.

        Yields:
            The thought, if it is to be shown; words of the answer as they may be shown; and last
            the whole `Answer`.

        Raises:
            InputError: the question is empty or too long.
            ModelError: the model failed, or can't think.
        """
        continues = self._last is not None and follows_up(question)
        session = (self._last if continues and self._last else self._fresh).fork()
        view = self.view
        if self._config.think:
            view = dataclasses.replace(view, calibration=self._thinking_calibration)
        events = answer_question(
            question,
            view,
            session,
            config=self._config,
            opening_s=self._unrecorded_s,
            default_language=self._language,
            continues=continues,
        )
        with closing(events):
            for event in events:
                if isinstance(event, Answer):
                    self._language, self._unrecorded_s = event.language, {}
                    if event.claims or event.reason in (None, "model"):
                        self._last = session
                yield event

    def forget(self) -> None:
        """Forget the questions so far; the slide stays read."""
        self._last = None

    def thumbnail(self) -> UInt8[NDArray[np.uint8], "h w 3"]:
        """Small view of the slide, [h, w, 3]; read once."""
        if self._thumbnail is None:
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
        with clock.stage("features"):
            bag = _encode(slide, backend, cache, clock)
        with clock.stage("facts"):
            view, bag = _measure(slide, backend, bag)
        with clock.stage("prompt"):
            session = _tell(view, backend, bag, slide)
    except BaseException:
        slide.close()
        raise
    return SlideChat(
        slide,
        view,
        session,
        config,
        clock.seconds,
        backend.thinking_calibration,
        sends_to=backend.sends_to,
    )


def _encode(slide: Slide, backend: Backend, cache: Path | None, clock: Clock) -> FeatureBag:
    from ruichat.features.extract import ExtractConfig, extract
    from ruichat.features.survey import survey
    from ruichat.storage.artifacts import cache_dir

    if backend.encoder is None:
        return survey(slide, ExtractConfig(icc=slide.icc))
    config = ExtractConfig.for_encoder(backend.encoder.card, icc=slide.icc)
    counts = clock.counts("features")
    return extract(slide, backend.encoder, config, cache=cache or cache_dir(), progress=counts)


def _measure(slide: Slide, backend: Backend, bag: FeatureBag) -> tuple[SlideView, FeatureBag]:
    """What is known of the slide, and the bag of those tiles that the model is shown."""
    reading, read, classes = None, bag, None
    if backend.classifier is not None:
        reading = TileReading(
            backend.classifier.class_probabilities(bag.embeddings),
            backend.classifier.known_score(bag.embeddings),
        )
        keep = tiles_to_read(reading.known)
        read = bag.where(keep)
        classes = reading.probabilities[keep]
    regions = split_regions(
        read.xy0, read.span0, read.base_mpp, read.size0, max_regions=backend.max_regions
    )
    k = len(regions)
    view = SlideView(
        record=record_slide(slide),
        span0=read.span0,
        xy0=read.xy0,
        regions=regions,
        region_classes=None if classes is None else region_means(classes, regions.assignment, k),
        facts=measure_facts(bag, num_regions=k, reading=reading),
        model=backend.name,
        calibration=backend.calibration,
        prompts=backend.prompts,
    )
    return view, read


def _tell(view: SlideView, backend: Backend, bag: FeatureBag, slide: Slide) -> ChatSession:
    from ruichat.model.chat_model import SlideContext
    from ruichat.model.pictures import SlidePictures

    context = SlideContext(
        bag=bag,
        regions=view.regions,
        facts=facts_text(view.facts),
        pictures=SlidePictures(slide, view.regions, bag.xy0, bag.span0, backend.pictures),
    )
    return backend.model.open(context)


def record_slide(slide: Slide) -> SlideRecord:
    """What was read, and with which resolution."""
    return SlideRecord(
        digest=slide.digest,
        width0=slide.width0,
        height0=slide.height0,
        mpp=slide.mpp.value,
        mpp_source=slide.mpp.source,
        file_mpp=slide.mpp.file_value,
    )


class Clock:
    """Seconds by stage, and who wants to know that a stage begins."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Time a stage; its seconds count even if it fails."""
        if self._progress is not None:
            self._progress(name, 0, 0)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - start

    def counts(self, name: str) -> Callable[[int, int], None]:
        """A callback of items done and in all, for a stage of that name."""

        def count(done: int, total: int) -> None:
            if self._progress is not None:
                self._progress(name, done, total)

        return count
