"""The same questions answered by rule from what the tiles are said to be.

Fed with the truth, the rules give the true answers; fed with tiles read by colour alone they are
the colour-only control; fed with the tile classifier they show what the language model loses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ruichat.histology import BY_KEY
from ruichat.truth.dialogues import QA
from ruichat.truth.dialogues.reading import CLASS_TOPICS, EVIDENCE, TOPICS, TUMOUR, Reading, Topic

_NAME = re.compile(r"\[R(\d+)\]")

ONE_HALF = 0.595
"""From this share on one half holds more: midway between what questions call level and unequal."""

AS_MUCH = 0.175
"""Two regions differ from this difference on, midway as above."""

SMALL, MODERATE = 0.215, 0.525
"""Upper ends of a small and of a moderate share, midway as above."""


@dataclass(frozen=True, slots=True)
class RuleAnswer:
    """The key of an answer and the regions it rests on, from 0."""

    key: str
    cited: tuple[int, ...]


def answer_by_rule(qa: QA, reading: Reading) -> RuleAnswer | None:
    """Answer a question from a reading; None for kinds that don't ask about tissue.

    Args:
        qa: only its question, kind, topic and options are used.
        reading: of the slide as it is known or guessed.
    """
    rule = _RULES.get(qa.kind)
    return rule(qa, reading) if rule is not None and qa.options else None


def asked_regions(qa: QA) -> tuple[int, ...]:
    """Regions that the question names, from 0."""
    return tuple(int(number) - 1 for number in _NAME.findall(qa.question))


def _found(topic: Topic, reading: Reading) -> RuleAnswer:
    if reading.is_present(topic):
        return RuleAnswer("yes", reading.evidence(topic))
    return RuleAnswer("no", reading.support(reading.dominant))


def _presence(qa: QA, reading: Reading) -> RuleAnswer:
    if qa.topic:
        return _found(TOPICS[qa.topic], reading)
    # "Is it normal?" has no topic.
    found = _found(TUMOUR, reading)
    return RuleAnswer("no" if found.key == "yes" else "yes", found.cited)


def _region_presence(qa: QA, reading: Reading) -> RuleAnswer:
    region = asked_regions(qa)[0]
    shown = reading.share(TOPICS[qa.topic])[region] >= EVIDENCE - 1e-6
    return RuleAnswer("yes" if shown else "no", (region,))


def _type(qa: QA, reading: Reading) -> RuleAnswer:
    if "none" in qa.options:
        present = reading.tumour_regions
        if not present:
            return RuleAnswer("none", reading.support(reading.dominant))
        return RuleAnswer(max(present, key=reading.overall).key, reading.evidence(TUMOUR))
    if not qa.topic:
        return _organ(qa, reading)
    topic = max((TOPICS[key] for key in qa.options), key=reading.overall)
    return RuleAnswer(topic.key, reading.support(topic))


def _organ(qa: QA, reading: Reading) -> RuleAnswer:
    of_organ = {
        organ: [topic for topic in CLASS_TOPICS if BY_KEY[topic.key].organ == organ]
        for organ in qa.options
    }
    best = max(of_organ, key=lambda organ: sum(map(reading.overall, of_organ[organ])))
    cited = {region for topic in of_organ[best] for region in reading.evidence(topic)}
    return RuleAnswer(best, tuple(sorted(cited)))


def _content(qa: QA, reading: Reading) -> RuleAnswer:
    region = asked_regions(qa)[0]
    if reading.is_mixed(region):
        return RuleAnswer("mixed", (region,))
    best = int(reading.slide.fractions[region].argmax())
    return RuleAnswer(CLASS_TOPICS[best].key, (region,))


def _dominant(qa: QA, reading: Reading) -> RuleAnswer:
    return RuleAnswer(reading.dominant.key, reading.support(reading.dominant))


def _amount(qa: QA, reading: Reading) -> RuleAnswer:
    topic = TOPICS[qa.topic]
    if "none" in qa.options:
        found = _found(topic, reading)
        return RuleAnswer(qa.options[0] if found.key == "yes" else "none", found.cited)
    share, cited = reading.overall(topic), reading.support(topic)
    if "yes" in qa.options:
        return RuleAnswer("yes" if share > 0.5 else "no", cited)
    return RuleAnswer(
        "small" if share < SMALL else "moderate" if share < MODERATE else "most", cited
    )


def _side(qa: QA, reading: Reading) -> RuleAnswer:
    topic = TOPICS[qa.topic]
    if not reading.is_present(topic):
        return RuleAnswer("none", reading.support(reading.dominant))
    axis = int(qa.options[0] == "upper")
    first = reading.slide.centre_xy[:, axis] < 0
    amount = reading.share(topic) * reading.slide.num_tiles
    share = float(amount[first].sum() / amount.sum())
    regions = np.array(reading.evidence(topic))
    if share >= ONE_HALF:
        return RuleAnswer(qa.options[0], tuple(regions[first[regions]].tolist()))
    if share <= 1 - ONE_HALF:
        return RuleAnswer(qa.options[1], tuple(regions[~first[regions]].tolist()))
    return RuleAnswer("both", tuple(regions.tolist()))


def _compare(qa: QA, reading: Reading) -> RuleAnswer:
    first, second = asked_regions(qa)[:2]
    if "same" not in qa.options:
        best = reading.slide.fractions[[first, second]].argmax(1)
        return RuleAnswer("yes" if best[0] == best[1] else "no", (first, second))
    share = reading.share(TOPICS[qa.topic])
    difference = float(share[first] - share[second])
    if abs(difference) < AS_MUCH:
        return RuleAnswer("same", (first, second))
    return RuleAnswer(f"R{(first if difference > 0 else second) + 1}", (first, second))


def _describe(qa: QA, reading: Reading) -> RuleAnswer:
    found = _found(TUMOUR, reading)
    background = reading.support(reading.dominant)
    return RuleAnswer(found.key, tuple(sorted({*found.cited, *background})))


_RULES: dict[str, Callable[[QA, Reading], RuleAnswer]] = {
    "presence": _presence,
    "presence_where": _presence,
    "where": _presence,
    "region_presence": _region_presence,
    "type": _type,
    "content": _content,
    "dominant": _dominant,
    "amount": _amount,
    "side": _side,
    "compare": _compare,
    "describe": _describe,
}
