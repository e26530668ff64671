"""Slides to ask about: laid from held-out tiles, and drawn whole from seeds no stage has seen."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ruichat.chat.backend import TileClassifier
from ruichat.chat.facts import (
    KNOWN_SCORE,
    TUMOUR_PROBABILITY,
    Share,
    SlideFacts,
    facts_text,
    malignant_probability,
    shares,
)
from ruichat.evaluate.config import PhantomSuite, SlideSuite
from ruichat.evaluate.reading import EncodedTiles, TileReader
from ruichat.histology import CLASSES
from ruichat.model.regions import Regions, split_regions
from ruichat.slide.phantom import NO_TISSUE, PHANTOM_CLASSES, PhantomConfig, draw_phantom
from ruichat.truth.bags import BagMaker
from ruichat.truth.bank import TileBank
from ruichat.truth.symbolic import SymbolicSlide
from ruichat.truth.tiles import WINDOW_PX, TilePool

Origin = Literal["laid", "drawn"]

MIN_TISSUE = 0.5
"""Windows of a drawn slide with less tissue are left out: their class would be a matter of luck."""

BASE_MPP = 0.5
TILE_MM2 = (WINDOW_PX * BASE_MPP / 1000) ** 2


@dataclass(frozen=True)
class TestSlide:
    """A slide whose every tile is known.

    Attributes:
        number: unit of the bootstrap.
        origin: laid from tiles, or drawn as a whole.
        embeddings: float32 [n,d].
        colour: float32 [n,12].
        regions: as the product would cut it.
        truth: what each region holds.
        facts: as the product would measure them.
    """

    __test__ = False  # the name isn't a test's

    number: int
    origin: Origin
    embeddings: NDArray[np.float32]
    colour: NDArray[np.float32]
    regions: Regions
    truth: SymbolicSlide
    facts: SlideFacts

    @property
    def facts_text(self) -> str:
        """The facts as the prompt has them."""
        return facts_text(self.facts)


def lay_slides(
    bank: TileBank, config: SlideSuite, classifier: TileClassifier | None, *, seed: int
) -> list[TestSlide]:
    """Slides laid from the bank's held-out tiles."""
    maker = BagMaker(bank, "test", config.layout)
    slides: list[TestSlide] = []
    for number in range(config.num_laid):
        laid = maker.draw(np.random.default_rng((seed, 1, number)), stains=1)
        facts = measure(laid.embeddings, len(laid.regions), laid.truth, classifier)
        slides.append(
            TestSlide(number, "laid", laid.embeddings, laid.colour, laid.regions, laid.truth, facts)
        )
    return slides


def measure(
    embeddings: NDArray[np.float32],
    num_regions: int,
    truth: SymbolicSlide,
    classifier: TileClassifier | None,
) -> SlideFacts:
    """The facts of a slide without pixels: its focus and stain are those of any good slide."""
    composition: tuple[Share, ...] = ()
    tumour = known = None
    if classifier is not None:
        probabilities = classifier.class_probabilities(embeddings)
        composition = shares(np.bincount(probabilities.argmax(1), minlength=len(CLASSES)))
        tumour = float(np.mean(malignant_probability(probabilities) >= TUMOUR_PROBABILITY))
        known = float(np.mean(classifier.known_score(embeddings) >= KNOWN_SCORE))
    return SlideFacts(
        tissue_mm2=float(truth.mm2.sum()),
        num_tiles=len(embeddings),
        num_regions=num_regions,
        mpp=BASE_MPP,
        composition=composition,
        tumour_fraction=tumour,
        focus=1.0,
        focus_grade="good",
        stain="H&E",
        known_fraction=known,
    )


def bank_of(pool: TilePool, tiles: EncodedTiles) -> TileBank:
    """A bank of tiles under the one stain they have."""
    return TileBank(
        tiles.embeddings[:, None],
        tiles.colour[:, None],
        pool.target,
        pool.partial,
        pool.source,
        pool.group,
        pool.split,
    )


@dataclass(frozen=True, slots=True)
class DrawnSlide:
    """The tissue windows of a drawn slide.

    Attributes:
        rgb: uint8 [n,224,224,3].
        xy0: int64 [n,2], top left corners.
        tile_class: int64 [n], the class that takes most of each window.
    """

    rgb: NDArray[np.uint8]
    xy0: NDArray[np.int64]
    tile_class: NDArray[np.int64]


def draw_slide(seed: int, size_px: tuple[int, int]) -> DrawnSlide:
    """Draw a slide that shows two to five of the classes, and cut its tissue into windows."""
    rng = np.random.default_rng((seed, 9))
    num = int(rng.integers(2, 6))
    chosen = [PHANTOM_CLASSES[i] for i in rng.permutation(len(PHANTOM_CLASSES))[:num]]
    mix = {key: float(rng.uniform(0.3, 1.0)) for key in chosen}
    width, height = size_px
    phantom = draw_phantom(PhantomConfig(seed=seed, width0=width, height0=height, mix=mix))
    rgb: list[NDArray[np.uint8]] = []
    xy0: list[tuple[int, int]] = []
    tile_class: list[int] = []
    for y in range(0, height - WINDOW_PX + 1, WINDOW_PX):
        for x in range(0, width - WINDOW_PX + 1, WINDOW_PX):
            window = phantom.classes[y : y + WINDOW_PX, x : x + WINDOW_PX]
            tissue = window[window != NO_TISSUE]
            if tissue.size < MIN_TISSUE * window.size:
                continue
            rgb.append(phantom.rgb[y : y + WINDOW_PX, x : x + WINDOW_PX])
            xy0.append((x, y))
            tile_class.append(int(np.bincount(tissue, minlength=len(CLASSES)).argmax()))
    return DrawnSlide(np.stack(rgb), np.array(xy0), np.array(tile_class))


def draw_slides(
    config: PhantomSuite,
    reader: TileReader,
    classifier: TileClassifier | None,
    *,
    first_number: int,
    max_regions: int,
    tick: Callable[[int, int], None],
) -> list[TestSlide]:
    """Whole drawn slides, cut and encoded as the product does it."""
    seeds = range(
        config.first_seed + config.num_fields,
        config.first_seed + config.num_fields + config.num_slides,
    )
    slides: list[TestSlide] = []
    with ProcessPoolExecutor() as pool:
        for drawn in pool.map(draw_slide, seeds, [config.slide_px] * len(seeds)):
            number = first_number + len(slides)
            slides.append(_encode(drawn, config, reader, classifier, number, max_regions))
            tick(len(slides), len(seeds))
    return slides


def _encode(
    drawn: DrawnSlide,
    config: PhantomSuite,
    reader: TileReader,
    classifier: TileClassifier | None,
    number: int,
    max_regions: int,
) -> TestSlide:
    tiles = reader.encode(drawn.rgb)
    regions = split_regions(
        drawn.xy0, WINDOW_PX, BASE_MPP, config.slide_px, max_regions=max_regions
    )
    truth = SymbolicSlide.from_truth(drawn.tile_class, regions, tile_mm2=TILE_MM2)
    facts = measure(tiles.embeddings, len(regions), truth, classifier)
    return TestSlide(number, "drawn", tiles.embeddings, tiles.colour, regions, truth, facts)
