"""From an open slide to what every question about it starts from: read, measured, told."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ruichat.chat.answer import DrawnRecord, SlideRecord
from ruichat.chat.facts import TileReading, facts_text, measure_facts, tiles_to_read
from ruichat.chat.view import SlideView, region_means
from ruichat.model.regions import split_regions

if TYPE_CHECKING:
    from ruichat.chat.backend import Backend
    from ruichat.features.bag import FeatureBag
    from ruichat.model.chat_model import ChatSession
    from ruichat.model.pictures import PixelSource
    from ruichat.slide.slide import Slide

UNKNOWN_BYTES = 64 << 20
"""Taken for a dialogue whose model doesn't say what it keeps; ours, above what mini needs."""

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, items done and items in all (0, 0 when it merely begins)."""


@dataclass(frozen=True)
class ReadSlide:
    """A slide as a model has read it; never changed, so that many chats share it.

    Attributes:
        view: what answers know of it.
        bag: its tiles, also those that the model wasn't shown.
        reading: of the tile classifier, of all tiles of the bag; None where there is none.
        session: has read the slide; only its forks are asked.
        backend: answers.
        pixels: gives the pictures that a model wants to see.
    """

    view: SlideView
    bag: FeatureBag
    reading: TileReading | None
    session: ChatSession
    backend: Backend
    pixels: PixelSource

    @property
    def num_bytes(self) -> int:
        """Memory that it keeps, about."""
        arrays = [self.bag.embeddings, self.bag.xy0]
        if self.reading is not None:
            arrays += [self.reading.probabilities, self.reading.known]
        return sum(array.nbytes for array in arrays) + session_bytes(self.session)


def session_bytes(session: ChatSession) -> int:
    """Memory that a dialogue keeps, about."""
    return int(getattr(session, "num_bytes", UNKNOWN_BYTES))


def read_slide(
    slide: Slide,
    backend: Backend,
    *,
    cache: Path | None = None,
    clock: Clock | None = None,
    pixels: PixelSource | None = None,
) -> ReadSlide:
    """Encode a slide, unless its bag is kept already, and let the model read it.

    Args:
        slide: open until this returns.
        backend: reads it.
        cache: where bags are kept; the user's cache folder if None.
        clock: times the stages.
        pixels: gives pictures for as long as questions are asked; the slide itself if None.

    Raises:
        InputError: the slide is damaged or shows no tissue.
        ArtifactError: the cache can't be written.
    """
    clock = clock or Clock(None)
    with clock.stage("features"):
        bag = _encode(slide, backend, cache, clock)
    with clock.stage("facts"):
        reading = read_tiles(backend, bag)
        view, shown = measure(record_slide(slide), backend, bag, reading)
    with clock.stage("prompt"):
        session = tell(view, backend, shown, pixels or slide)
    return ReadSlide(view, bag, reading, session, backend, pixels or slide)


def is_encoded(slide: Slide, backend: Backend, cache: Path | None = None) -> bool:
    """Whether the slide's bag is kept already, so that reading it takes no time to speak of."""
    from ruichat.features.extract import ExtractConfig, cached_path
    from ruichat.storage.artifacts import cache_dir

    if backend.encoder is None:
        return True
    config = ExtractConfig.for_encoder(backend.encoder.card, icc=slide.icc)
    return cached_path(cache or cache_dir(), slide, backend.encoder, config).exists()


def _encode(slide: Slide, backend: Backend, cache: Path | None, clock: Clock) -> FeatureBag:
    from ruichat.features.extract import ExtractConfig, extract
    from ruichat.features.survey import survey
    from ruichat.storage.artifacts import cache_dir

    if backend.encoder is None:
        return survey(slide, ExtractConfig(icc=slide.icc))
    config = ExtractConfig.for_encoder(backend.encoder.card, icc=slide.icc)
    counts = clock.counts("features")
    return extract(slide, backend.encoder, config, cache=cache or cache_dir(), progress=counts)


def read_tiles(backend: Backend, bag: FeatureBag) -> TileReading | None:
    """What the tile classifier makes of a bag's tiles; None where there is none."""
    if backend.classifier is None:
        return None
    return TileReading(
        backend.classifier.class_probabilities(bag.embeddings),
        backend.classifier.known_score(bag.embeddings),
    )


def measure(
    record: SlideRecord,
    backend: Backend,
    bag: FeatureBag,
    reading: TileReading | None,
    drawn: DrawnRecord | None = None,
) -> tuple[SlideView, FeatureBag]:
    """What is known of a slide, and the bag of those tiles that the model is shown."""
    read, classes = bag, None
    if reading is not None:
        keep = tiles_to_read(reading.known)
        read = bag.where(keep)
        classes = reading.probabilities[keep]
    regions = split_regions(
        read.xy0, read.span0, read.base_mpp, read.size0, max_regions=backend.max_regions
    )
    k = len(regions)
    view = SlideView(
        record=record,
        span0=read.span0,
        xy0=read.xy0,
        regions=regions,
        region_classes=None if classes is None else region_means(classes, regions.assignment, k),
        facts=measure_facts(bag, num_regions=k, reading=reading),
        model=backend.name,
        calibration=backend.calibration,
        prompts=backend.prompts,
        drawn=drawn,
    )
    return view, read


def tell(view: SlideView, backend: Backend, bag: FeatureBag, pixels: PixelSource) -> ChatSession:
    """A dialogue about what a view shows; the model reads it here, once."""
    from ruichat.model.chat_model import SlideContext
    from ruichat.model.pictures import SlidePictures

    context = SlideContext(
        bag=bag,
        regions=view.regions,
        facts=facts_text(view.facts),
        pictures=SlidePictures(
            pixels,
            view.regions,
            bag.xy0,
            bag.span0,
            backend.pictures,
            within=None if view.drawn is None else view.drawn.box0,
        ),
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
