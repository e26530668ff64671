"""Opening a laid slide as the product opens a scanned one: same prompt, same regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ruichat.chat.ask import region_means
from ruichat.chat.facts import shares
from ruichat.features.bag import FeatureBag
from ruichat.features.encoder import Encoder
from ruichat.features.tile_classifier import TileClassifier
from ruichat.histology import KEYS
from ruichat.model.chat_model import ChatModel, ChatSession, SlideContext
from ruichat.truth.bags import LaidSlide
from ruichat.truth.facts import draw_facts

BASE_MPP = 1.0
"""Laid slides count in micrometres."""


@dataclass(frozen=True)
class OpenedSlide:
    """A laid slide that can be asked.

    Attributes:
        session: the model's dialogue about it.
        region_classes: the tile classifier's mean probabilities per region, [k, c].
    """

    session: ChatSession
    region_classes: NDArray[np.float32]


def as_bag(slide: LaidSlide, encoder: Encoder) -> FeatureBag:
    """The bag that extraction would have written, had the slide been scanned."""
    n = len(slide.embeddings)
    size0 = (
        max(box.x + box.width for box in slide.regions.boxes),
        max(box.y + box.height for box in slide.regions.boxes),
    )
    plain = np.full(n, 0.5, np.float32)
    return FeatureBag(
        embeddings=slide.embeddings,
        xy0=slide.xy0,
        span0=slide.span0,
        base_mpp=BASE_MPP,
        size0=size0,
        focus=plain,
        hematoxylin=plain,
        eosin=plain,
        tissue_area_mm2=float(slide.truth.mm2.sum()),
        encoder=encoder.card.name,
        encoder_digest=encoder.digest,
        slide_digest="laid",
        fingerprint="laid",
    )


def open_laid(
    slide: LaidSlide,
    model: ChatModel,
    classifier: TileClassifier | None,
    encoder: Encoder,
    rng: np.random.Generator,
) -> OpenedSlide:
    """Start a dialogue about a laid slide; without a classifier its composition isn't known."""
    if classifier is None:
        probabilities = np.zeros((len(slide.embeddings), len(KEYS)), np.float32)
        measured = ()
    else:
        probabilities = classifier.class_probabilities(slide.embeddings)
        measured = shares(np.bincount(probabilities.argmax(axis=1), minlength=len(KEYS)))
    context = SlideContext(
        bag=as_bag(slide, encoder),
        regions=slide.regions,
        facts=draw_facts(slide.truth, rng, measured),
    )
    return OpenedSlide(
        model.open(context),
        region_means(probabilities, slide.regions.assignment, len(slide.regions)),
    )
