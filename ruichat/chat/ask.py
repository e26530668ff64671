"""From a slide and a question to a streamed, checked, calibrated answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy.typing import NDArray
from pydantic import Field

from ruichat.chat.answer import Answer, SlideRecord
from ruichat.chat.backend import Backend, load_backend
from ruichat.chat.facts import SlideFacts, facts_text, measure_facts
from ruichat.chat.question import MAX_QUESTION_CHARS
from ruichat.chat.reply import SlideView, answer_question
from ruichat.config import Config
from ruichat.histology import CLASSES, Language

if TYPE_CHECKING:
    from ruichat.model.chat_model import ChatSession
    from ruichat.slide.slide import Slide

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, items done and items in all (0, 0 when it merely begins)."""


class AskConfig(Config):
    """How a slide is asked."""

    model: str = "mini"
    """Name of an embedded model, or a checkpoint folder."""
    mpp: float | None = Field(default=None, gt=0)
    """Micrometres per pixel, used only where the file states none."""
    max_tokens: int = Field(default=160, gt=0)
    """Longest answer, text tokens."""
    max_question_chars: int = Field(default=MAX_QUESTION_CHARS, gt=0)
    """Longest question, characters."""
    language: Language | None = None
    """Language of fixed wordings; None follows the question. The model always follows it."""
    thumbnail_px: int = Field(default=1600, gt=0)
    """Longer side of the overlay's thumbnail, pixels."""


class SlideChat:
    """One slide, encoded once, and the questions asked about it; a context manager.

    Attributes:
        view: what is known of the slide.
        seconds: wall-clock seconds by stage of opening it.
    """

    def __init__(
        self,
        slide: Slide,
        view: SlideView,
        session: ChatSession,
        config: AskConfig,
        seconds: dict[str, float],
    ) -> None:
        self.view = view
        self.seconds = seconds
        self._slide = slide
        self._session = session
        self._config = config
        self._num_asked = 0
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

    def ask(self, question: str) -> Generator[str | Answer]:
        """Answer one question.

        Reads no tile and encodes nothing. Closing the iterator early cancels the answer.

        Yields:
            Words of the answer as they may be shown, and last the whole `Answer`.

        Raises:
            InputError: the question is empty or too long.
            ModelError: the model failed.
        """
        opening = self.seconds if self._num_asked == 0 else {}
        self._num_asked += 1
        events = answer_question(
            question,
            self.view,
            self._session,
            config=self._config,
            opening_s=opening,
            default_language=self._language,
        )
        with closing(events):
            for event in events:
                if isinstance(event, Answer):
                    self._language = event.language
                yield event

    def forget(self) -> None:
        """Forget the questions so far; the slide stays read."""
        self._session.rewind()

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
    from ruichat.features.extract import ExtractConfig, extract
    from ruichat.model.chat_model import SlideContext
    from ruichat.model.regions import split_regions
    from ruichat.slide.opening import open_slide
    from ruichat.storage.artifacts import cache_dir

    config = config or AskConfig()
    clock = Clock(progress)
    with clock.stage("slide"):
        slide = open_slide(path, mpp=config.mpp)
    try:
        with clock.stage("model"):
            backend = backend or load_backend(config.model)
        with clock.stage("features"):
            bag = extract(
                slide,
                backend.encoder,
                ExtractConfig(encoder=backend.encoder.card.name),
                cache=cache or cache_dir(),
                progress=None if progress is None else clock.counts("features"),
            )
        with clock.stage("facts"):
            probabilities = backend.classifier.class_probabilities(bag.embeddings)
            regions = split_regions(
                bag.xy0, bag.span0, bag.base_mpp, bag.size0, max_regions=backend.max_regions
            )
            facts = measure_facts(
                bag,
                num_regions=len(regions.boxes),
                probabilities=probabilities,
                known=backend.classifier.known_score(bag.embeddings),
            )
            view = SlideView(
                record=record_slide(slide),
                span0=bag.span0,
                xy0=bag.xy0,
                regions=regions,
                region_classes=region_means(probabilities, regions.assignment, len(regions.boxes)),
                facts=facts,
                model=backend.name,
                calibration=backend.calibration,
            )
        with clock.stage("prompt"):
            context = SlideContext(bag=bag, regions=regions, facts=facts_text(facts))
            session = backend.model.open(context)
    except BaseException:
        slide.close()
        raise
    return SlideChat(slide, view, session, config, clock.seconds)


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


def region_means(
    probabilities: Float32[NDArray[np.float32], "n c"],
    assignment: Int64[NDArray[np.int64], " n"],
    num_regions: int,
) -> Float32[NDArray[np.float32], "k c"]:
    """Mean class probabilities of each region, [n, c] and [n] to [k, c]."""
    sums = np.zeros((num_regions, len(CLASSES)), np.float64)
    np.add.at(sums, assignment, probabilities)
    counts = np.bincount(assignment, minlength=num_regions)
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)


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
