"""A bag as a model is shown it: cut into regions, with what was measured on it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ruichat.chat.backend import Backend
from ruichat.chat.facts import TileReading, facts_text, measure_facts, tiles_to_read
from ruichat.features.bag import SUFFIX, FeatureBag
from ruichat.features.foreign.convert import convert
from ruichat.features.foreign.given import BagReading
from ruichat.model.chat_model import SlideContext
from ruichat.model.regions import Regions, split_regions
from ruichat.storage.hdf5 import has_manifest
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.truth.datasets.laying import lay


@dataclass(frozen=True)
class Shown:
    """One slide, or one picture, ready for a model.

    Attributes:
        context: what the model is told of a slide; None of a picture.
        boxes: of its regions, x, y, width, height, level-0 pixels.
        digest: of the embeddings, or of the pixels.
        has_facts: what was measured is among what it is told.
    """

    context: SlideContext | None
    boxes: tuple[tuple[int, int, int, int], ...]
    digest: str
    has_facts: bool


def show_bag(
    path: Path,
    backend: Backend,
    reading: BagReading,
    *,
    dialogue: Dialogue | None,
    num_regions: int | None,
    facts: bool,
) -> Shown:
    """Read a bag and cut it into regions as training does.

    Args:
        path: a bag of ours, or a feature file of another tool.
        backend: the model, and the tile classifier by which tiles are left out and facts told.
        reading: what such a file doesn't state.
        dialogue: whose own regions are laid; None cuts the slide as it is.
        num_regions: as a dialogue wants it; the model's own number if None.
        facts: whether measured facts are told; a bag in which nothing was measured has none.

    Raises:
        ArtifactError: the bag is damaged.
        InputError: it doesn't state what it must, or has no tile where a region lies.
    """
    bag = read_bag(path, reading)
    tiles = _read_tiles(bag, backend)
    shown = bag if tiles is None else bag.where(tiles_to_read(tiles.known))
    most = num_regions or backend.max_regions
    if dialogue is None:
        regions = split_regions(shown.xy0, shown.span0, shown.base_mpp, shown.size0, most)
    else:
        laid = lay(dialogue, [shown], most)
        keep = np.zeros(len(shown), bool)
        keep[laid.tile] = True
        regions = Regions(laid.boxes, laid.region[np.argsort(laid.tile)], laid.geometry)
        shown = shown.where(keep)
    told = ""
    if facts and math.isfinite(bag.tissue_area_mm2):
        told = facts_text(measure_facts(bag, num_regions=len(regions), reading=tiles))
    return Shown(
        context=SlideContext(bag=shown, regions=regions, facts=told),
        boxes=tuple((box.x, box.y, box.width, box.height) for box in regions.boxes),
        digest=hashlib.sha256(np.ascontiguousarray(bag.embeddings).data).hexdigest()[:16],
        has_facts=bool(told),
    )


def _read_tiles(bag: FeatureBag, backend: Backend) -> TileReading | None:
    """What the tile classifier makes of a bag of its encoder."""
    classifier, encoder = backend.classifier, backend.encoder
    if classifier is None or encoder is None or bag.encoder != encoder.card.name:
        return None
    if bag.encoder_digest not in ("", encoder.digest):
        return None
    return TileReading(
        classifier.class_probabilities(bag.embeddings), classifier.known_score(bag.embeddings)
    )


def read_bag(path: Path, reading: BagReading) -> FeatureBag:
    """A bag of ours, or one made of another tool's feature file.

    Raises:
        ArtifactError: it is damaged.
        InputError: it doesn't state what it must.
    """
    if path.suffix == SUFFIX and has_manifest(path):
        return FeatureBag.load(path)
    return convert(path, reading.given(None))
