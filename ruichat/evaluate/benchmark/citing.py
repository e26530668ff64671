"""Scores beside the words: what an answer cites, and what becomes of it as options move."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ruichat.evaluate.benchmark.answers import Given
from ruichat.evaluate.benchmark.cases import KINDS, Question
from ruichat.evaluate.benchmark.scoring import Marks, Metric, pair, ratio, share
from ruichat.evaluate.judging import cover
from ruichat.truth.datasets.dialogue import cited_numbers
from ruichat.units import Region0

Boxes = Sequence[tuple[int, int, int, int]]
"""Of regions in the order of their names: x, y, width, height, level-0 pixels."""

CITED: tuple[Metric, ...] = tuple(
    Metric(name, KINDS, ratio, counted=name.endswith("exist"))
    for name in ("cited area that is true", "true area that is cited", "cited regions that exist")
)
"""Scores of citations, where the reference cites."""

MOVES: tuple[Metric, ...] = tuple(
    Metric(name, ("choice",), ratio, counted=name.startswith("follows"))
    for name in (
        "accuracy over all orders",
        "right in every order",
        "follows the words",
        "follows the label",
    )
)
"""Scores of one question under several orders of its options."""


def mark_citations(text: str, reference: str, boxes: Boxes, truth: Boxes) -> Marks:
    """Score the regions that an answer cites.

    Args:
        text: the answer.
        reference: the true answer; what it doesn't cite isn't scored.
        boxes: of the regions that names mean to the model.
        truth: of the regions that names mean in the reference.
    """
    wanted = _named(reference, truth)[0]
    if not wanted:
        return {}
    cited, num_named = _named(text, boxes)
    ours, theirs, shared = cover(cited, wanted)
    # Every question counts alike, whatever the size of its slide.
    scale = max(ours, theirs)
    return {
        "cited area that is true": pair(shared / scale, ours / scale),
        "true area that is cited": pair(shared / scale, theirs / scale),
        "cited regions that exist": pair(len(cited), num_named),
    }


def mark_chance(reference: str, boxes: Boxes, truth: Boxes, *, num_cited: int) -> Marks:
    """What as many regions cited by lot would get, on average."""
    wanted = _named(reference, truth)[0]
    places = [Region0(*box) for box in boxes]
    if not wanted or not places:
        return {}
    shared = [cover([place], wanted) for place in places]
    hit, whole = sum(one[2] for one in shared), sum(one[0] for one in shared)
    found = min(1.0, num_cited / len(places))
    return {
        "cited area that is true": pair(found * hit / whole, found),
        "true area that is cited": pair(found, 1.0),
    }


def num_cited(text: str, boxes: Boxes) -> int:
    """Regions that an answer cites and that exist, each once."""
    return len(_named(text, boxes)[0])


def _named(text: str, boxes: Boxes) -> tuple[list[Region0], int]:
    """Boxes of the regions that a text names, and how many it names."""
    numbers = dict.fromkeys(cited_numbers(text))
    places = [Region0(*boxes[number - 1]) for number in numbers if 1 <= number <= len(boxes)]
    return places, len(numbers)


Reader = Callable[[Question, Given], int | None]


def mark_moves(question: Question, given: Sequence[Given], read: Reader) -> Marks:
    """What becomes of a choice as the options move on.

    Args:
        question: with options.
        given: under the file's order first, then under each rotation.
        read: the option that an answer gives, by its words' index.
    """
    chosen = [read(question, one) for one in given]
    right = [choice == question.right for choice in chosen]
    marks = {
        "accuracy over all orders": pair(sum(right), len(right)),
        "right in every order": share(all(right)),
    }
    if chosen[0] is None:
        return marks
    label = given[0].order.index(chosen[0])
    moved = list(zip(chosen[1:], given[1:], strict=True))
    same_words = sum(choice == chosen[0] for choice, _ in moved)
    same_label = sum(
        choice is not None and one.order.index(choice) == label for choice, one in moved
    )
    return marks | {
        "follows the words": pair(same_words, len(moved)),
        "follows the label": pair(same_label, len(moved)),
    }
