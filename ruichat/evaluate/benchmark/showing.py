"""A bag as a model is shown it: cut into regions, with what was measured on it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ruichat.chat.backend import Backend
from ruichat.chat.facts import TileReading, facts_text, measure_facts
from ruichat.errors import InputError
from ruichat.features.bag import SUFFIX, FeatureBag
from ruichat.features.foreign.convert import Given, convert
from ruichat.model.chat_model import SlideContext
from ruichat.model.regions import split_regions
from ruichat.storage.hdf5 import has_manifest


@dataclass(frozen=True)
class Shown:
    """One slide, ready for a model.

    Attributes:
        context: what the model is told.
        boxes: of its regions, x, y, width, height, level-0 pixels.
        digest: of the embeddings.
        has_facts: what was measured is among what it is told.
    """

    context: SlideContext
    boxes: tuple[tuple[int, int, int, int], ...]
    digest: str
    has_facts: bool


def show_bag(path: Path, backend: Backend, *, max_regions: int | None, facts: bool) -> Shown:
    """Read a bag and cut it into regions.

    All its tiles are shown, so that names of regions mean what they mean in training.

    Args:
        path: a bag of ours, or a feature file of another tool that states all it must.
        backend: the model, and the tile classifier whose composition the facts hold.
        max_regions: as the dialogue wants it; the model's own number if None.
        facts: whether measured facts are told; a bag in which nothing was measured has none.

    Raises:
        ArtifactError: the bag is damaged.
        InputError: it doesn't state what it must.
    """
    bag = read_bag(path)
    regions = split_regions(
        bag.xy0,
        bag.span0,
        bag.base_mpp,
        bag.size0,
        max_regions=max_regions or backend.max_regions,
    )
    told = _facts(bag, len(regions), backend) if facts else ""
    return Shown(
        context=SlideContext(bag=bag, regions=regions, facts=told),
        boxes=tuple((box.x, box.y, box.width, box.height) for box in regions.boxes),
        digest=hashlib.sha256(np.ascontiguousarray(bag.embeddings).data).hexdigest()[:16],
        has_facts=bool(told),
    )


def read_bag(path: Path) -> FeatureBag:
    """A bag of ours, or one made of another tool's feature file.

    Raises:
        ArtifactError: it is damaged.
        InputError: it doesn't state what it must.
    """
    if path.suffix == SUFFIX and has_manifest(path):
        return FeatureBag.load(path)
    return convert(path, Given())


def _facts(bag: FeatureBag, num_regions: int, backend: Backend) -> str:
    """The line that a chat would tell; empty where the bag has no measurements."""
    reading = None
    classifier, encoder = backend.classifier, backend.encoder
    fits = encoder is not None and bag.encoder_digest == encoder.digest
    if classifier is not None and fits:
        reading = TileReading(
            classifier.class_probabilities(bag.embeddings), classifier.known_score(bag.embeddings)
        )
    try:
        return facts_text(measure_facts(bag, num_regions=num_regions, reading=reading))
    except InputError:
        return ""
