"""Questions about which half has more of something, and which of two regions."""

from __future__ import annotations

import numpy as np

from ruichat.truth.dialogues.answers import Cited, Half, region_name
from ruichat.truth.dialogues.asker import MAX_CITED, Asker
from ruichat.truth.dialogues.grammar import pick
from ruichat.truth.dialogues.qa import QA
from ruichat.truth.dialogues.reading import CLASS_TOPICS, EVIDENCE, TUMOUR, Topic


def ask_side(asker: Asker) -> QA | None:
    """Which half holds more of it?"""
    reading, rng = asker.reading, asker.rng
    if reading.k < 4:
        return None
    axis = int(rng.random() < 0.5)
    halves: tuple[Half, Half] = ("upper", "lower") if axis else ("left", "right")
    first = reading.slide.centre_xy[:, axis] < 0
    answers = [
        (topic, key)
        for topic, present in asker.reading.answers
        if (key := _side_key(asker, topic, first, halves) if present == "yes" else "none")
        and asker.balance.wants(
            asker.slot(f"side:{topic.key}:{axis}"),
            key,
            halves if key in halves else (*halves, "none"),
        )
    ]
    if not answers:
        return None
    topic, key = pick(rng, answers)
    asker.balance.add(asker.slot(f"side:{topic.key}:{axis}"), key)
    question = asker.pose(f"side.{'vertical' if axis else 'horizontal'}", topic)
    return _answer_side(asker, question, topic, key, halves, first)


def _side_key(asker: Asker, topic: Topic, first: np.ndarray, halves: tuple[Half, Half]) -> str:
    """Which half holds more of what is there, "both", or empty where it isn't clear."""
    reading = asker.reading
    amount = reading.share(topic) * reading.slide.num_tiles
    share = float(amount[first].sum() / amount.sum())
    if share >= 0.65:
        return halves[0]
    if share <= 0.35:
        return halves[1]
    return "both" if 0.46 <= share <= 0.54 else ""


def _answer_side(
    asker: Asker,
    question: str,
    topic: Topic,
    key: str,
    halves: tuple[Half, Half],
    first: np.ndarray,
) -> QA:
    reading, words = asker.reading, asker.words
    options = {
        **{half: words.halves[half] for half in halves},
        "both": words.halves["both"],
        "none": words.yes[1],
    }
    if key == "none":
        return asker.answer(
            "side", question, asker.missing(topic), key, topic=topic, options=options,
            evidence=reading.support(reading.dominant), allowed=reading.allowed(reading.dominant),
        )  # fmt: skip
    regions = reading.evidence(topic)
    allowed = reading.allowed(topic)
    if key in halves:
        inside = first if key == halves[0] else ~first
        regions = tuple(r for r in regions if inside[r])
        allowed = tuple(r for r in allowed if inside[r])
    part = Cited(topic, (regions or allowed)[:MAX_CITED])
    half: Half | None = halves[key == halves[1]] if key in halves else None
    answer = words.half_more(half, part) if half else words.halves_equal(part)
    return asker.answer(
        "side", question, answer, key,
        topic=topic, evidence=regions, allowed=allowed, options=options,
    )  # fmt: skip


def ask_compare(asker: Asker) -> QA | None:
    """Two regions: which has more of something, or do they show the same?"""
    if asker.reading.k < 2:
        return None
    return _compare_amount(asker) if asker.rng.random() < 0.5 else _compare_kind(asker)


def _pair(asker: Asker) -> tuple[int, int]:
    first, second = asker.rng.choice(asker.reading.k, size=2, replace=False).tolist()
    return first, second


def _compare_amount(asker: Asker) -> QA | None:
    reading, words = asker.reading, asker.words
    topics = [t for t in (TUMOUR, TUMOUR, *CLASS_TOPICS) if reading.is_present(t)]
    if not topics:
        return None
    topic = pick(asker.rng, topics)
    share = reading.share(topic)
    first, second = _pair(asker)
    difference = float(share[first] - share[second])
    slot = asker.slot(f"compare:{topic.key}")
    key = "one" if abs(difference) >= 0.3 else "same" if abs(difference) < 0.05 else ""
    if key == "same" and share[first] < EVIDENCE:
        return None
    # "About as much" is one answer beside two: it is wanted half as often as either region.
    if not key or (
        key == "same" and 2 * asker.balance.count(slot, "same") > asker.balance.count(slot, "one")
    ):
        return None
    asker.balance.add(slot, key)
    names = {f"R{r + 1}": f"{region_name(r)} {words.has}" for r in (first, second)}
    options = {**names, "same": words.both}
    slots = {"R": region_name(first), "Q": region_name(second)}
    question = asker.pose("compare.amount", topic, **slots)
    more, less = (first, second) if difference > 0 else (second, first)
    answer = words.more(more, less, topic) if key == "one" else words.as_much(first, second, topic)
    return asker.answer(
        "compare", question, answer, f"R{more + 1}" if key == "one" else "same",
        topic=topic, evidence=(first, second), options=options,
    )  # fmt: skip


def _compare_kind(asker: Asker) -> QA | None:
    reading, words = asker.reading, asker.words
    first, second = _pair(asker)
    one, other = reading.region_class(first), reading.region_class(second)
    if one is None or other is None:
        return None
    key = "yes" if one is other else "no"
    # Neighbours are mostly alike: balanced by distance, so that the names don't give it away.
    slot = asker.slot(f"same:{min(abs(first - second), 6)}")
    if not asker.balance.wants(slot, key, ("yes", "no")):
        return None
    asker.balance.add(slot, key)
    same = words.same(first, second, one)
    return asker.answer(
        "compare",
        asker.pose("compare.kind", R=region_name(first), Q=region_name(second)),
        same if key == "yes" else words.different(first, one, second, other),
        key,
        evidence=(first, second),
        options=words.alike,
    )
