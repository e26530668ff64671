"""Looking at regions: each is named beside the tissues that it holds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from ruichat.truth.dialogues.chains.thinker import Thinker
from ruichat.truth.dialogues.qa import Kind
from ruichat.truth.dialogues.reading import CLASS_TOPICS, TOPICS, Reading, Topic

ABOUT_A_TOPIC: frozenset[Kind] = frozenset(
    {"presence", "presence_where", "where", "amount", "side"}
)
"""Questions that name the tissue that they are about; others have to find it."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a region shows.

    Attributes:
        name: of the wording: one tissue, one above others, several, less than half, or many.
        topics: classes that take a quarter or more, largest first.
    """

    name: str
    topics: tuple[Topic, ...]


def see(reading: Reading, region: int) -> Sight:
    """What one region shows."""
    classes = reading.region_classes(region)
    if reading.region_class(region) is not None:
        return Sight("pure" if len(classes) == 1 else "main", classes)
    if not classes:
        return Sight("many", ())
    return Sight("mixed" if reading.is_mixed(region) else "part", classes)


def observe(thinker: Thinker) -> None:
    """Go through all regions, in their order or tissue by tissue; plainly, only what is asked."""
    if thinker.plain:
        look_for(thinker)
        return
    reading = thinker.reading
    regions = range(reading.k)
    sights = {region: see(reading, region) for region in regions}
    if thinker.rng.random() < 0.5:
        thinker.say("walk")
        for sight, row in itertools.groupby(regions, key=sights.__getitem__):
            describe(thinker, sight, tuple(row))
        return
    thinker.say("by_tissue")
    for sight in dict.fromkeys(sights.values()):
        describe(thinker, sight, tuple(r for r in regions if sights[r] == sight))


def look_for(thinker: Thinker) -> None:
    """Say what is looked for; where everything is, say where each tissue is, largest first."""
    reading = thinker.reading
    if thinker.qa.topic and thinker.qa.kind in ABOUT_A_TOPIC:
        thinker.say("look_for", X=thinker.words.name(TOPICS[thinker.qa.topic]))
        return
    for topic in sorted(CLASS_TOPICS, key=reading.overall, reverse=True):
        if regions := reading.evidence(topic):
            thinker.say("present", regions, X=thinker.words.name(topic))


def describe(thinker: Thinker, sight: Sight, regions: tuple[int, ...]) -> None:
    """Say what regions of one kind show."""
    if sight.name == "main":
        main, others = sight.topics[0], sight.topics[1:]
        thinker.say("main", regions, N=thinker.words.name(main), M=thinker.names(others))
    else:
        thinker.say(sight.name, regions, N=thinker.names(sight.topics))
