"""Overlays of slides, worked out when first asked for and kept on disk until the file changes."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ruichat.errors import ArtifactError, NotFoundError
from ruichat.serve.slides.library import SlideLibrary
from ruichat.serve.slides.masks import (
    Layer,
    LegendItem,
    quality_layer,
    quality_legend,
    tissue_layer,
    tissue_legend,
)
from ruichat.serve.slides.tiles import Shown
from ruichat.slide.slide import Slide
from ruichat.slide.slide_quality import QualityConfig, inspect_slide
from ruichat.slide.tissue import TissueConfig, find_tissue
from ruichat.storage.artifacts import write_atomic
from ruichat.units import Region0

Name = Literal["classes", "tissue", "quality"]
NAMES: tuple[Name, ...] = get_args(Name)

SCHEMA_VERSION = 1

CLASSES_S = 3.0
"""How long the list of overlays waits for that of classes; the next list has it."""

ReadClasses = Callable[[str], Layer | None]
"""Takes a slide's id and gives what its tiles show; None as long as no model has read them."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """One overlay of one slide, as pictures.

    Attributes:
        name: what it shows.
        extent0: part of the slide that it covers.
        legend: what its colours mean.
        pictures: PNG by key of the legend; under "" all of it.
    """

    name: Name
    extent0: Region0
    legend: tuple[LegendItem, ...]
    pictures: dict[str, bytes]

    def picture(self, only: str = "") -> bytes:
        """A PNG of all of it, or of one key alone.

        Raises:
            NotFoundError: it shows no such thing.
        """
        if only not in self.pictures:
            known = ", ".join(key for key in self.pictures if key)
            raise NotFoundError(
                f"the overlay {self.name} shows no {only!r}", hint=f"It shows {known}"
            )
        return self.pictures[only]

    def tag(self, only: str = "") -> str:
        """A name for a picture's content."""
        return hashlib.sha256(self.picture(only)).hexdigest()[:32]

    def to_json(self) -> bytes:
        """For the disk."""
        pictures = {key: base64.b64encode(png).decode() for key, png in self.pictures.items()}
        return json.dumps(asdict(self) | {"pictures": pictures}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Overlay:
        """From the disk.

        Raises:
            KeyError, TypeError, ValueError: it holds something else.
        """
        found: dict[str, Any] = json.loads(data)
        return cls(
            found["name"],
            Region0(**found["extent0"]),
            tuple(LegendItem(**item | {"color": tuple(item["color"])}) for item in found["legend"]),
            {key: base64.b64decode(png) for key, png in found["pictures"].items()},
        )


@dataclass(frozen=True, slots=True)
class Outline:
    """What can be told of an overlay before its pictures are there.

    Attributes:
        name: what it shows.
        extent0: part of the slide that it covers.
        legend: what its colours mean.
    """

    name: Name
    extent0: Region0
    legend: tuple[LegendItem, ...]


class Overlays:
    """Overlays of all slides; worked out one at a time.

    Args:
        library: of slides.
        read_classes: gives what tiles show.
        model: whose classes those are; another model's are worked out anew.
    """

    def __init__(self, library: SlideLibrary, read_classes: ReadClasses, *, model: str) -> None:
        self._library = library
        self._folder = library.overlays_folder
        self._read_classes = read_classes
        self._model = hashlib.sha256(model.encode()).hexdigest()[:8]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="overlays")
        self._making: dict[Path, Future[Overlay]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Work out no more."""
        self._thread.shutdown(cancel_futures=True)

    def outlines(self, slide_id: str, shown: Shown, *, is_read: bool) -> list[Outline]:
        """The overlays that a slide has.

        Args:
            slide_id: of the slide.
            shown: the slide.
            is_read: whether a model has read it, so that there may be an overlay of classes.

        Raises:
            RuiChatError: that of classes should be there, but can't be made.
        """
        bounds0 = Region0(0, 0, shown.zoom.width0, shown.zoom.height0)
        found = [
            Outline("tissue", bounds0, tissue_legend()),
            Outline("quality", bounds0, quality_legend()),
        ]
        classes = self._classes(slide_id, shown) if is_read else None
        return found if classes is None else [classes, *found]

    def fetch(self, slide_id: str, shown: Shown, name: Name) -> Future[Overlay]:
        """An overlay; the future is shared and must not be cancelled."""
        made_by = self._model if name == "classes" else "slide"
        path = self._folder / f"{slide_id}-{shown.version}-{name}-{made_by}-{SCHEMA_VERSION}.json"
        with self._lock:
            known = self._making.get(path)
            if known is not None:
                return known
            future = self._making[path] = self._thread.submit(self._get, path, slide_id, name)
        future.add_done_callback(lambda _: self._making.pop(path, None))
        return future

    def _classes(self, slide_id: str, shown: Shown) -> Outline | None:
        try:
            overlay = self.fetch(slide_id, shown, "classes").result(CLASSES_S)
        except (NotFoundError, TimeoutError):
            return None
        return Outline("classes", overlay.extent0, overlay.legend)

    def _get(self, path: Path, slide_id: str, name: Name) -> Overlay:
        kept = _load(path)
        if kept is None:
            kept = _drawn(name, self._layer(slide_id, name))
            write_atomic(path, kept.to_json())
        return kept

    def _layer(self, slide_id: str, name: Name) -> Layer:
        if name == "classes":
            layer = self._read_classes(slide_id)
            if layer is None:
                raise NotFoundError(
                    "the model hasn't read this slide", hint="Ask something about it first"
                )
            return layer
        with self._library.open(slide_id) as slide:
            return _inspect(slide, name)


def _load(path: Path) -> Overlay | None:
    """What is kept; None where there is nothing, or nothing that can be used."""
    try:
        return Overlay.from_json(path.read_bytes())
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None
    except OSError as error:
        raise ArtifactError(
            f"a kept overlay can't be read ({error.strerror})", hint="Check the data folder"
        ) from error


def _inspect(slide: Slide, name: Literal["tissue", "quality"]) -> Layer:
    tissue = find_tissue(slide, TissueConfig())
    if name == "tissue":
        return tissue_layer(tissue, slide.bounds0)
    return quality_layer(inspect_slide(slide, tissue, QualityConfig()), slide.bounds0)


def _drawn(name: Name, layer: Layer) -> Overlay:
    pictures = {"": layer.png()} | {key: layer.png(key) for key in layer.alone}
    return Overlay(name, layer.extent0, layer.legend, pictures)
