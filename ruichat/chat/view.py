"""What a chat knows of its slide once it is encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy.typing import NDArray

from ruichat.chat.answer import Citation, DrawnRecord, Place, SlideRecord
from ruichat.chat.calibration import Calibration
from ruichat.chat.facts import Share, SlideFacts
from ruichat.histology import CLASSES, KEYS
from ruichat.model.regions import Regions

NUM_LEADING = 3
MIN_LEADING = 0.05
"""Tissue classes under a twentieth aren't worth naming."""


@dataclass(frozen=True)
class SlideView:
    """One slide as answers see it.

    Attributes:
        record: what was read.
        span0: side of a tile, level-0 pixels.
        xy0: top left corners of the tiles, level-0 pixels.
        regions: the named regions.
        region_classes: mean class probabilities per region; None where no tile classifier reads
            the tiles.
        facts: what was measured.
        model: name of the model that answers.
        calibration: of the model, None if it carries none.
        prompts: of the model's own, with their versions.
        drawn: the region that all this is about; None if it is the whole slide.
    """

    record: SlideRecord
    span0: int
    xy0: Int64[NDArray[np.int64], "n 2"]
    regions: Regions
    region_classes: Float32[NDArray[np.float32], "k c"] | None
    facts: SlideFacts
    model: str
    calibration: Calibration | None
    prompts: tuple[str, ...] = ()
    drawn: DrawnRecord | None = None

    @property
    def place(self) -> Place:
        """What answers are about."""
        return "slide" if self.drawn is None else "region"

    @property
    def num_regions(self) -> int:
        """Number of named regions k."""
        return len(self.regions.boxes)

    def cite(self, name: str, tissues: tuple[str, ...] = ()) -> Citation:
        """The citation of a region that exists.

        Args:
            name: "R7".
            tissues: keys of the classes it is cited for; the likeliest of them is shown.
        """
        index = int(name[1:]) - 1
        if self.region_classes is None:
            return Citation(name, self.regions.boxes[index], (), next(iter(tissues), None))
        here = self.region_classes[index]
        classes = leading(here)
        shows = max(tissues, key=lambda key: here[KEYS.index(key)], default=None)
        if shows is None and classes:
            shows = classes[0].key
        return Citation(name, self.regions.boxes[index], classes, shows)

    def alternatives(self, names: tuple[str, ...] = ()) -> tuple[Share, ...]:
        """Leading classes in the named regions that exist, else on the whole slide.

        None of them where no tile classifier reads the tiles.
        """
        if self.region_classes is None:
            return ()
        rows = [int(name[1:]) - 1 for name in names]
        rows = [row for row in rows if 0 <= row < self.num_regions]
        if rows:
            return leading(self.region_classes[rows].mean(axis=0))
        sizes = np.bincount(self.regions.assignment, minlength=self.num_regions)
        return leading(np.average(self.region_classes, axis=0, weights=sizes))


def leading(classes: Float[NDArray[Any], " c"]) -> tuple[Share, ...]:
    """The likeliest classes of a distribution, largest first."""
    order = np.argsort(-classes, kind="stable")[:NUM_LEADING]
    return tuple(Share(KEYS[i], float(classes[i])) for i in order if classes[i] >= MIN_LEADING)


def region_means(
    probabilities: Float32[NDArray[np.float32], "n c"],
    assignment: Int64[NDArray[np.int64], " n"],
    num_regions: int,
) -> Float32[NDArray[np.float32], "k c"]:
    """Mean class probabilities of each region."""
    sums = np.zeros((num_regions, len(CLASSES)), np.float64)
    np.add.at(sums, assignment, probabilities)
    counts = np.bincount(assignment, minlength=num_regions)
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
