"""Questions about how much, which side, which of two, what overall."""

from __future__ import annotations

import numpy as np

from ruichat.align.dialogues.answers import Cited, Half, Share
from ruichat.align.dialogues.asker import MAX_BACKGROUND, MAX_CITED, Asker
from ruichat.align.dialogues.grammar import pick
from ruichat.align.dialogues.qa import QA
from ruichat.align.dialogues.reading import CLASS_TOPICS, EVIDENCE, TOPICS, TRACE, TUMOUR, Topic

_MEASURED: dict[str, Topic] = {
    "tumour_percent": TUMOUR,
    "tumour_mm2": TUMOUR,
    "necrosis_percent": TOPICS["necrosis"],
    "lymphoid_percent": TOPICS["lymphoid_tissue"],
}
_PLAIN_FACTS = ("tissue_mm2", "num_regions", "num_tiles", "mpp")


def ask_amount(asker: Asker) -> QA | None:
    """How much? With a measured number where there is one, else roughly."""
    draw = asker.rng.random()
    if draw < 0.2:
        fact = pick(asker.rng, _PLAIN_FACTS)
        return asker.answer("amount", asker.pose(f"amount.{fact}"), asker.words.amount(fact), fact)
    if draw < 0.65:
        return _ask_measured(asker, pick(asker.rng, tuple(_MEASURED)))
    return _ask_majority(asker) if draw < 0.8 else _ask_share(asker)


def _ask_measured(asker: Asker, fact: str) -> QA | None:
    reading, topic = asker.reading, _MEASURED[fact]
    present = reading.is_present(topic)
    slot, key = asker.slot(f"amount:{fact}"), fact if present else "none"
    if not (present or reading.is_absent(topic)):
        return None
    if not asker.balance.wants(slot, key, (fact, "none")):
        return None
    asker.balance.add(slot, key)
    shown = topic if present else reading.dominant
    cited = asker.cited(topic).regions
    return asker.answer(
        "amount",
        asker.pose(f"amount.{fact}"),
        asker.words.amount(fact, cited) if present else asker.missing(topic),
        key,
        topic=topic,
        evidence=reading.support(shown),
        allowed=reading.allowed(shown),
        options={fact: f"{{{fact}}}", "none": asker.words.yes[1]},
    )


def _ask_majority(asker: Asker) -> QA | None:
    """Is it more than half of the tissue? Asked where the share isn't near one half."""
    reading, words = asker.reading, asker.words
    topics = [t for t in (TUMOUR, *CLASS_TOPICS) if reading.is_present(t)]
    clear = [
        (topic, "yes" if reading.overall(topic) > 0.5 else "no")
        for topic in topics
        if abs(reading.overall(topic) - 0.5) > 0.1
    ]
    wanted = [
        (topic, key)
        for topic, key in clear
        if asker.balance.wants(asker.slot(f"majority:{topic.key}"), key, ("yes", "no"))
    ]
    if not wanted:
        return None
    topic, key = pick(asker.rng, wanted)
    asker.balance.add(asker.slot(f"majority:{topic.key}"), key)
    return asker.answer(
        "amount",
        asker.pose("amount.majority", topic),
        words.majority(asker.cited(topic), more=key == "yes"),
        key,
        topic=topic,
        evidence=reading.support(topic),
        allowed=reading.allowed(topic),
        options=words.polar,
    )


_SHARES: tuple[tuple[Share, float, float], ...] = (
    ("small", TRACE, 0.18),
    ("moderate", 0.25, 0.45),
    ("most", 0.6, 1.01),
)
"""Rough shares with gaps between them, so that no truth is a matter of rounding."""


def _ask_share(asker: Asker) -> QA | None:
    reading, words = asker.reading, asker.words
    found: list[tuple[Topic, Share]] = [
        (topic, share)
        for topic in CLASS_TOPICS
        for share, low, high in _SHARES
        if reading.is_present(topic) and low <= reading.overall(topic) < high
    ]
    wanted: list[tuple[Topic, Share]] = [
        (topic, share)
        for topic, share in found
        if asker.balance.wants(
            asker.slot(f"share:{topic.key}"), share, ("small", "moderate", "most")
        )
    ]
    if not wanted:
        return None
    topic, share = pick(asker.rng, wanted)
    asker.balance.add(asker.slot(f"share:{topic.key}"), share)
    return asker.answer(
        "amount",
        asker.pose("amount.share", topic),
        words.share(share, asker.cited(topic)),
        share,
        topic=topic,
        evidence=reading.support(topic),
        allowed=reading.allowed(topic),
        options={name: words.shares[name] for name, _, _ in _SHARES},
    )


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
    names = {f"R{r + 1}": f"[R{r + 1}] {words.has}" for r in (first, second)}
    options = {**names, "same": words.both}
    slots = {"R": f"[R{first + 1}]", "Q": f"[R{second + 1}]"}
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
        asker.pose("compare.kind", R=f"[R{first + 1}]", Q=f"[R{second + 1}]"),
        same if key == "yes" else words.different(first, one, second, other),
        key,
        evidence=(first, second),
        options=words.alike,
    )


def ask_describe(asker: Asker) -> QA | None:
    """Describe the slide: tumour or none, main tissue, other tissues, amount of tumour."""
    reading, words = asker.reading, asker.words
    present = reading.is_present(TUMOUR)
    if not (present or reading.is_absent(TUMOUR)) or not reading.present_classes:
        return None
    slot, key = asker.slot("describe"), "yes" if present else "no"
    if not asker.balance.accepts(asker.rng, slot, key, ("yes", "no")):
        return None
    asker.balance.add(slot, key)
    sentences, shown = _overview(asker, present=present)
    others = [t for t in reading.present_classes if t.key not in shown][:3]
    if others:
        sentences.append(words.also([asker.cited(topic, MAX_BACKGROUND) for topic in others]))
    if present:
        sentences.append(words.amount("tumour_percent", reading.evidence(TUMOUR)[:MAX_BACKGROUND]))
    cited = [reading.dominant, *others, *((TUMOUR,) if present else ())]
    return asker.answer(
        "describe",
        asker.pose("describe"),
        (" " if asker.language == "en" else "").join(sentences),
        key,
        topic=TUMOUR,
        evidence=[r for topic in cited for r in reading.support(topic)],
        allowed=[r for topic in cited for r in reading.allowed(topic)],
        options={"yes": "{tumour_percent}", "no": words.yes[1]},
    )


def _overview(asker: Asker, *, present: bool) -> tuple[list[str], set[str]]:
    """First sentences of a description, and the classes they name."""
    main = asker.background
    if not present:
        return [asker.missing(TUMOUR)], {main.topic.key}
    tumours = asker.tumours()
    sentences = [asker.words.tumour_seen(tumours)]
    shown = {part.topic.key for part in tumours}
    if main.topic.key not in shown:
        sentences.append(asker.words.main_tissue(main, pure=asker.is_pure))
    return sentences, shown | {main.topic.key}


def ask_quality(asker: Asker) -> QA | None:
    """Is the slide sharp and well stained?"""
    return asker.answer("quality", asker.pose("quality"), asker.words.quality(), "quality")
