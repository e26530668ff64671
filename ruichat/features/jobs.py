"""One slide's share of a run over many: what goes to a worker, and what comes back."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NoReturn, Protocol, runtime_checkable

from ruichat import errors
from ruichat.errors import RuiChatError
from ruichat.features.bag import BagFacts
from ruichat.features.encoder import Encoder, EncoderCard, load_card
from ruichat.features.extract import (
    EXTRACTION,
    SHARD_S,
    ExtractConfig,
    Progress,
    cache_key,
    extract_file,
)
from ruichat.features.runtime.ways import RunConfig
from ruichat.features.store import Attempts, Place, Store
from ruichat.slide.opening import open_slide
from ruichat.slide.slide import Slide

log = logging.getLogger(__name__)

MAX_DEATHS = 3
"""Processes that may die over a slide, one after the other, without getting further."""

COMPOUND = ".ome"
"""Second suffix that isn't part of a slide's name: a.ome.tif."""

Status = Literal["done", "skipped", "failed", "busy", "stopped"]


@dataclass(frozen=True)
class Settings:
    """What holds for all slides of a run; goes to other processes and machines.

    Attributes:
        card: of the encoder.
        config: of the extraction.
        store: folder of the bags.
        mpp: micrometres per pixel, for slides that don't state it.
        weights: file or folder of the encoder's weights.
        run: how the encoder may be run.
        max_deaths: see `MAX_DEATHS`.
        shard_s: seconds after which finished batches are kept.
    """

    card: EncoderCard
    config: ExtractConfig
    store: Path
    mpp: float | None = None
    weights: Path | None = None
    run: RunConfig = field(default_factory=RunConfig)
    max_deaths: int = MAX_DEATHS
    shard_s: float = SHARD_S

    def load(self) -> Encoder:
        """The encoder; the store is claimed for it.

        Raises:
            RuiChatError: it can't be loaded, or the store is another's.
        """
        encoder = load_card(self.card, weights=self.weights, run=self.run)
        Store(self.store).claim(
            encoder=encoder.card.name,
            encoder_digest=encoder.digest,
            precision=encoder.way.precision,
            fingerprint=self.config.fingerprint(),
            extraction=EXTRACTION,
        )
        return encoder

    def settled(self, note: Callable[[str], None] | None = None) -> Settings:
        """With one way of running the encoder, for all who share the work: their bytes are equal.

        A store that was begun goes on in its precision, unless another is asked for. Encoders
        that load themselves choose by themselves.

        Args:
            note: told what takes long.

        Raises:
            RuiChatError: the encoder can't be loaded or run.
        """
        if self.run.trusted or self.card.architecture is None:
            return self
        run = self.run
        if run.precision == "auto":
            run = run.model_copy(update={"precision": Store(self.store).precision or "auto"})
        way = load_card(self.card, weights=self.weights, run=run, note=note).way
        return replace(self, run=RunConfig.of(way, device=run.device, num_threads=run.num_threads))


@dataclass(frozen=True)
class Job:
    """A slide to extract.

    Attributes:
        path: of the slide.
        name: of its bag, without suffix.
        alone: whether no other slide of the run has that name.
        wait: for another process that works on it; else it comes back as busy.
    """

    path: Path
    name: str
    alone: bool
    wait: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a slide.

    Attributes:
        slide: its path.
        status: "done"; "skipped" where its bag was there; "failed"; "busy" where another process
            has it; "stopped" where nothing can be done for any slide.
        bag: name of its file in the store, empty if there is none.
        num_tiles: in the bag.
        seconds: spent on it by the process that finished it.
        warnings: what the user should know.
        error: class of the error.
        message: what was wrong.
        hint: what to do about it.
    """

    slide: str
    status: Status
    bag: str = ""
    num_tiles: int = 0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str = ""
    message: str = ""
    hint: str = ""

    @classmethod
    def of_error(cls, slide: Path, error: Exception, status: Status = "failed") -> Outcome:
        """What an error means for a slide."""
        kind = type(error).__name__
        if isinstance(error, RuiChatError):
            message, hint = error.message, error.hint
        else:
            message, hint = f"{kind}: {error}", "This is a bug: run it alone with --debug"
        return cls(str(slide), status, error=kind, message=message, hint=hint)

    def raise_error(self) -> NoReturn:
        """The error again, as the process that met it would have raised it."""
        kind = getattr(errors, self.error, RuiChatError)
        raise kind(self.message, hint=self.hint)


@runtime_checkable
class _ReadsLate(Protocol):
    """An encoder that reads its files when it is first needed."""

    def load(self) -> None:
        """Read them now."""
        ...


class _NoEncoderError(Exception):
    """No slide can be encoded, for the reason that caused this."""


def make_jobs(slides: Sequence[Path]) -> list[Job]:
    """One job per slide; names that differ only in case are the same to some disks."""
    names = [_name(path) for path in slides]
    counts = Counter(name.casefold() for name in names)
    return [
        Job(path.absolute(), name, counts[name.casefold()] == 1)
        for path, name in zip(slides, names, strict=True)
    ]


def run_job(
    job: Job, settings: Settings, encoder: Encoder, progress: Progress | None = None
) -> Outcome:
    """Extract one slide into the store, unless its bag is there; errors become the outcome."""
    started = time.monotonic()
    try:
        store = Store(settings.store)
        with store.hold(job.name, wait=job.wait) as held:
            if not held:
                return Outcome(str(job.path), "busy")
            outcome = _run_held(job, settings, encoder, store, progress)
    except _NoEncoderError as error:
        assert isinstance(error.__cause__, RuiChatError)
        outcome = Outcome.of_error(job.path, error.__cause__, "stopped")
    except RuiChatError as error:
        outcome = Outcome.of_error(job.path, error)
    except Exception as error:  # the loop over slides: one that meets a bug doesn't end the run
        log.exception("%s failed", job.path)
        outcome = Outcome.of_error(job.path, error)
    return replace(outcome, seconds=round(time.monotonic() - started, 3))


def _run_held(
    job: Job, settings: Settings, encoder: Encoder, store: Store, progress: Progress | None
) -> Outcome:
    attempts = Attempts(store.parts(job.name, job.path), settings.max_deaths)
    attempts.begin(job.path.name)
    try:
        with open_slide(job.path, mpp=settings.mpp, icc=settings.config.icc) as slide:
            key = cache_key(slide, encoder, settings.config)
            place = store.place(job.name, key, alone=job.alone)
            if place.facts is not None:
                outcome = _outcome("skipped", job, slide, place, place.facts)
            else:
                _load(encoder)
                facts = extract_file(
                    slide,
                    encoder,
                    settings.config,
                    place.path,
                    parts=store.parts(job.name, job.path),
                    shard_s=settings.shard_s,
                    progress=progress,
                )
                outcome = _outcome("done", job, slide, place, facts)
    except BaseException:
        attempts.end()
        raise
    attempts.clear()
    return outcome


def _load(encoder: Encoder) -> None:
    """Have the encoder's files read, of which a store that is complete needs none."""
    if isinstance(encoder, _ReadsLate):
        try:
            encoder.load()
        except RuiChatError as error:
            raise _NoEncoderError from error


def _outcome(status: Status, job: Job, slide: Slide, place: Place, facts: BagFacts) -> Outcome:
    return Outcome(
        slide=str(job.path),
        status=status,
        bag=place.path.name,
        num_tiles=facts.num_tiles,
        warnings=slide.warnings + facts.warnings,
    )


def _name(path: Path) -> str:
    """What a slide is called: its file without suffixes, or its folder."""
    if path.is_dir():
        return path.resolve().name
    stem = path.stem
    return stem[: -len(COMPOUND)] if stem.lower().endswith(COMPOUND) else stem
