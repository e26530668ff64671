"""Every question under every condition: which slide is shown, and in which order options stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ruichat.evaluate.benchmark.cases import Case
from ruichat.truth.datasets.dialogue import Box

TRUE, BLIND, OTHER = "true", "blind", "other"
"""The dialogue's own slide; no slide; another patient's."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One dialogue under one condition: what is done or lost as a whole.

    Attributes:
        case: the dialogue.
        condition: `TRUE`, `BLIND`, `OTHER`, or `rotated(i)`.
        bag: of the slide that is shown; None shows none.
        rotation: places by which options are moved on.
    """

    case: Case
    condition: str
    bag: Path | None
    rotation: int = 0

    @property
    def key(self) -> str:
        """Of the dialogue and the condition."""
        return f"{self.case.key} {self.condition}"

    @property
    def num_regions(self) -> int | None:
        """Regions that the dialogue wants the slide cut into; None leaves it to the model."""
        return self.case.dialogue.num_regions

    @property
    def regions(self) -> tuple[Box, ...]:
        """The dialogue's own regions, which lie on its own slide only."""
        return () if self.condition == OTHER else self.case.dialogue.regions

    @property
    def view(self) -> str:
        """What is shown, as a key: dialogues of one view share a session's beginning."""
        regions = ";".join(f"{b.x},{b.y},{b.width},{b.height}" for b in self.regions)
        return f"{self.bag or ''} {self.num_regions or 0} {regions}"


def rotated(rotation: int) -> str:
    """Name of the condition whose options are moved on by so many places."""
    return f"rotated-{rotation}"


def options_order(num: int, rotation: int) -> list[int]:
    """Indices of options as they are listed after that many places of rotation."""
    return [(i + rotation) % num for i in range(num)]


def plan_asks(
    cases: Sequence[Case], num: int, *, rotations: int, blind: bool, seed: int
) -> list[Ask]:
    """What is asked about the first `num` dialogues, slide by slide.

    Args:
        cases: all dialogues; pairs are drawn among them, so that a limit changes none.
        num: dialogues asked.
        rotations: see `BenchmarkConfig`.
        blind: there is no slide to show.
        seed: of the pairing.
    """
    pairs = {} if blind else pair_patients(cases, seed=seed)
    asks = [
        ask for case in cases[:num] for ask in _asks(case, pairs.get(case.unit), rotations, blind)
    ]
    # A slide is read once for all that is asked about it.
    return sorted(asks, key=lambda ask: ask.view)


def _asks(case: Case, other: Path | None, rotations: int, blind: bool) -> Iterator[Ask]:
    if not blind:
        yield Ask(case, TRUE, case.bag)
    yield Ask(case, BLIND, None)
    if other is not None:
        yield Ask(case, OTHER, other)
    most = max((len(question.options) for question in case.questions), default=0)
    for rotation in range(1, min(rotations, most - 1) + 1):
        yield Ask(case, rotated(rotation), case.bag, rotation)


def pair_patients(cases: Sequence[Case], *, seed: int) -> dict[str, Path]:
    """For each patient the bag of another; empty where there is only one."""
    bags: dict[str, Path] = {}
    for case in sorted(cases, key=lambda one: one.key):
        if case.bag is not None:
            bags.setdefault(case.unit, case.bag)
    units = sorted(bags)
    order = [units[i] for i in np.random.default_rng((seed, 2)).permutation(len(units))]
    if len(order) < 2:
        return {}
    return {unit: bags[other] for unit, other in zip(order, order[1:] + order[:1], strict=True)}
