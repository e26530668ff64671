"""What a model is shown: the slide, none, another's, permuted regions, or only colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ruichat.evaluate.probes import fit_logistic
from ruichat.evaluate.questions import Asked
from ruichat.evaluate.rules import RuleAnswer, answer_by_rule
from ruichat.evaluate.slides import TestSlide
from ruichat.model.regions import Regions
from ruichat.truth.dialogues.reading import Reading
from ruichat.truth.symbolic import SymbolicSlide

Condition = Literal["true", "blind", "other", "permuted", "reordered"]
CONDITIONS: tuple[Condition, ...] = ("true", "blind", "other", "permuted", "reordered")
"""blind: names of regions without anything behind them, and no facts. other: the regions and facts
of another slide with as many regions. permuted: each region keeps its place and takes another's
tiles. reordered: the true slide, listed options at other letters."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What a model gets of a slide.

    Attributes:
        embeddings: float32 [n,d].
        regions: names, places, and which tile lies in which.
        facts: line of the prompt.
        blind: nothing stands behind the regions' names.
    """

    embeddings: NDArray[np.float32]
    regions: Regions
    facts: str
    blind: bool = False


def show_true(slide: TestSlide) -> Shown:
    """The slide as it is."""
    return Shown(slide.embeddings, slide.regions, slide.facts_text)


def show_blind(slide: TestSlide) -> Shown:
    """Only the names of its regions."""
    return Shown(slide.embeddings, slide.regions, "", blind=True)


def show_permuted(slide: TestSlide, *, seed: int) -> Shown:
    """Places and names as they are, every region with another's contents; it takes two regions."""
    regions = slide.regions
    rng = np.random.default_rng((seed, 3, slide.number))
    # One ring through all regions: a mere permutation leaves one in its place on average.
    ring = rng.permutation(len(regions))
    taken_by = np.empty_like(ring)
    taken_by[ring] = np.roll(ring, 1)
    return Shown(
        slide.embeddings,
        Regions(regions.boxes, taken_by[regions.assignment], regions.geometry),
        slide.facts_text,
    )


def pair_slides(slides: Sequence[TestSlide], *, seed: int) -> dict[int, TestSlide]:
    """For each slide (by number) another, with as many regions or the next larger number.

    Names of regions in a question then exist on the other slide too. The slide with most regions
    may have to take one with fewer.
    """
    rng = np.random.default_rng((seed, 4))
    order = [slides[i] for i in rng.permutation(len(slides))]
    order.sort(key=lambda slide: len(slide.regions))
    pairs: dict[int, TestSlide] = {}
    start = 0
    while start < len(order):
        k = len(order[start].regions)
        end = start
        while end < len(order) and len(order[end].regions) == k:
            end += 1
        group = order[start:end]
        if len(group) > 1:
            for slide, other in zip(group, group[1:] + group[:1], strict=True):
                pairs[slide.number] = other
        elif len(order) > 1:
            pairs[group[0].number] = order[end] if end < len(order) else order[start - 1]
        start = end
    return pairs


class ColourReader:
    """Reads tissue off colour statistics alone, by a linear model.

    Args:
        colour: of tiles for training, [n,12].
        target: class of each, index into `histology.CLASSES`.
    """

    def __init__(self, colour: NDArray[np.float32], target: NDArray[np.int64]) -> None:
        self._mean, self._std = colour.mean(0), colour.std(0) + 1e-6
        self._model: Any = fit_logistic((colour - self._mean) / self._std, target, 1.0)

    def classes(self, colour: NDArray[np.float32]) -> NDArray[np.int64]:
        """Likeliest class of each tile, [n,12] to [n]."""
        return self._model.predict((colour - self._mean) / self._std).astype(np.int64)


def answer_all_by_rule(
    asked: Sequence[Asked], tile_classes: dict[int, NDArray[np.int64]]
) -> list[RuleAnswer | None]:
    """Answer by rule from the classes that something read off each slide's tiles.

    Args:
        asked: the questions.
        tile_classes: by slide number, index into `histology.CLASSES` per tile.
    """
    readings: dict[int, Reading] = {}
    answers: list[RuleAnswer | None] = []
    for item in asked:
        number = item.slide.number
        if number not in readings:
            guessed = SymbolicSlide.from_truth(tile_classes[number], item.slide.regions)
            readings[number] = Reading(guessed)
        answers.append(answer_by_rule(item.qa, readings[number]))
    return answers
