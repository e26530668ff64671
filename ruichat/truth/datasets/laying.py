"""A dialogue's slides cut into the regions that it speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.features.bag import FeatureBag
from ruichat.model.regions import GEOMETRY_DIM, Regions, geometry_features, split_regions
from ruichat.truth.datasets.dialogue import Box, Dialogue, cited_numbers
from ruichat.units import Region0


@dataclass(frozen=True)
class Laid:
    """The regions of a dialogue.

    Attributes:
        embeddings: of all tiles.
        region: of each tile, 0 for [R1].
        geometry: see `model.regions.geometry_features`.
        tile: number of each tile among those of all bags one after the other.
        boxes: of the regions, each on its own slide.
    """

    embeddings: Float32[NDArray[np.float32], "n d"]
    region: Int64[NDArray[np.int64], " n"]
    geometry: Float32[NDArray[np.float32], "k g"]
    tile: Int64[NDArray[np.int64], " n"]
    boxes: tuple[Region0, ...]

    @property
    def num_regions(self) -> int:
        """Names that may be cited."""
        return len(self.geometry)


def lay(dialogue: Dialogue, bags: Sequence[FeatureBag], max_regions: int) -> Laid:
    """Cut the slides of a dialogue as it says, or as answering will.

    Its own boxes come first, in their order; what tissue they leave is cut into the names that
    remain, so that nothing of a slide is hidden. Several slides share the names by their tiles.

    Args:
        dialogue: what is said of the slides.
        bags: of its slides, in their order.
        max_regions: names at most, unless the dialogue states their number.

    Raises:
        InputError: a region that it states or cites has no tile.
    """
    if dialogue.regions:
        laid = _boxed(dialogue.regions, bags, max_regions)
    else:
        most = dialogue.num_regions or max_regions
        shares = _shares([len(bag) for bag in bags], most)
        laid = _joined([_cut(bag, share) for bag, share in zip(bags, shares, strict=True)], bags)
    check_cited(dialogue, laid.num_regions)
    return laid


def check_cited(dialogue: Dialogue, num_regions: int) -> None:
    """Refuse a dialogue that cites more regions than its slides are cut into.

    Raises:
        InputError: it does.
    """
    for turn in dialogue.turns:
        for number in cited_numbers(turn.text + (turn.thought or "")):
            if number > num_regions:
                raise InputError(
                    f"it cites [R{number}]; its slides are cut into R1 to R{num_regions}",
                    hint="Correct the number, or state the regions in `regions` or `num_regions`",
                )


def names_regions(dialogue: Dialogue) -> bool:
    """Whether it states or cites any: then they have to be there."""
    said = (turn.text + (turn.thought or "") for turn in dialogue.turns)
    return bool(dialogue.regions) or any(True for text in said for _ in cited_numbers(text))


def most_regions(dialogue: Dialogue, num_tiles: Sequence[int], max_regions: int) -> int:
    """Regions that `lay` will cut, as far as the numbers of tiles tell.

    Raises:
        InputError: it is about more slides than regions have names.
    """
    most = dialogue.num_regions or max(max_regions, len(dialogue.regions))
    if not dialogue.regions:
        _check_named(len(num_tiles), most)
    return max(len(dialogue.regions), min(sum(num_tiles), most))


def _cut(bag: FeatureBag, num: int) -> Regions:
    return split_regions(bag.xy0, bag.span0, bag.base_mpp, bag.size0, max_regions=num)


def _shares(num_tiles: Sequence[int], most: int) -> list[int]:
    """Names for each slide, at least one, by its tiles."""
    _check_named(len(num_tiles), most)
    total = sum(num_tiles)
    spare = most - len(num_tiles)
    return [1 + spare * num // total for num in num_tiles]


def _check_named(num_slides: int, most: int) -> None:
    if num_slides > most:
        raise InputError(
            f"it is about {num_slides} slides; {most} regions have names",
            hint="Raise max_regions, or divide the dialogue",
        )


def _joined(parts: Sequence[Regions], bags: Sequence[FeatureBag]) -> Laid:
    starts = np.cumsum([0, *(len(part) for part in parts)])
    return Laid(
        np.concatenate([bag.embeddings for bag in bags]),
        np.concatenate([p.assignment + start for p, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.geometry for part in parts]),
        np.arange(sum(map(len, bags))),
        tuple(box for part in parts for box in part.boxes),
    )


def _boxed(boxes: Sequence[Box], bags: Sequence[FeatureBag], max_regions: int) -> Laid:
    """Boxes of the dialogue first, then what is left of each slide."""
    held = [_holder(boxes, at, bag) for at, bag in enumerate(bags)]
    counts = np.bincount(np.concatenate(held) + 1, minlength=len(boxes) + 1)[1:]
    if (empty := np.flatnonzero(counts == 0)).size:
        raise InputError(
            f"its region R{empty[0] + 1} holds the centre of no tile",
            hint="Give level-0 pixels of the slide whose bag this is, or leave the region out",
        )
    geometry = np.zeros((len(boxes), GEOMETRY_DIM), np.float32)
    for at, bag in enumerate(bags):
        own = [i for i, box in enumerate(boxes) if box.slide == at]
        if own:
            corners = [[b.x, b.y, b.x + b.width, b.y + b.height] for b in (boxes[i] for i in own)]
            geometry[own] = geometry_features(np.array(corners), counts[own], bag.base_mpp)
    holder = np.concatenate(held)
    own = Laid(
        np.concatenate([bag.embeddings[h >= 0] for bag, h in zip(bags, held, strict=True)]),
        holder[holder >= 0],
        geometry,
        np.flatnonzero(holder >= 0),
        tuple(Region0(box.x, box.y, box.width, box.height) for box in boxes),
    )
    rest = [bag.where(h < 0) for bag, h in zip(bags, held, strict=True) if (h < 0).any()]
    spare = max_regions - len(boxes)
    if not rest or spare < len(rest):
        return own
    shares = _shares([len(bag) for bag in rest], spare)
    others = _joined([_cut(bag, share) for bag, share in zip(rest, shares, strict=True)], rest)
    return Laid(
        np.concatenate([own.embeddings, others.embeddings]),
        np.concatenate([own.region, others.region + len(boxes)]),
        np.concatenate([own.geometry, others.geometry]),
        np.concatenate([own.tile, np.flatnonzero(holder < 0)]),
        own.boxes + others.boxes,
    )


def _holder(boxes: Sequence[Box], slide: int, bag: FeatureBag) -> Int64[NDArray[np.int64], " n"]:
    """Number of the box that holds each tile's centre; -1 where none does.

    Where boxes overlap the smallest takes a tile: it says more of it.
    """
    centre = bag.xy0 + bag.span0 // 2
    held = np.full(len(bag), -1, np.int64)
    own = [i for i, box in enumerate(boxes) if box.slide == slide]
    for i in sorted(own, key=lambda i: boxes[i].width * boxes[i].height, reverse=True):
        low = np.array([boxes[i].x, boxes[i].y])
        high = low + np.array([boxes[i].width, boxes[i].height])
        held[((centre >= low) & (centre < high)).all(axis=1)] = i
    return held
