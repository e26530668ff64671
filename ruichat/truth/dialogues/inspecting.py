"""Questions about single regions: what one holds, whether it shows something."""

from __future__ import annotations

from ruichat.truth.dialogues.answers import region_name
from ruichat.truth.dialogues.asker import Asker
from ruichat.truth.dialogues.grammar import pick
from ruichat.truth.dialogues.qa import QA
from ruichat.truth.dialogues.reading import (
    CLASS_TOPICS,
    EVIDENCE,
    TOPICS,
    TUMOUR,
    Reading,
    Topic,
)
from ruichat.truth.dialogues.seeing import TUMOUR_SHARE

NOTHING = 0.1
"""A region that holds less of a topic is asked about as one that doesn't show it."""


def ask_content(asker: Asker, *, name: str = "content") -> QA | None:
    """What is in a region?"""
    reading, words = asker.reading, asker.words
    mixed = [r for r in range(reading.k) if reading.is_mixed(r)]
    if mixed and asker.rng.random() < 0.2:
        region = pick(asker.rng, mixed)
        answer = words.region(region, None, reading.region_classes(region))
        question = asker.pose(name, R=region_name(region))
        options = _content_options(asker)
        return asker.answer(
            "content", question, answer, "mixed", evidence=(region,), options=options
        )
    if not reading.shown:
        return None
    shown = sorted({topic.key for _, topic in reading.shown})
    key = asker.balance.rarest(asker.rng, asker.slot("content"), shown)
    asker.balance.add(asker.slot("content"), key)
    topic = TOPICS[key]
    region = pick(asker.rng, [r for r, of in reading.shown if of is topic])
    others = [t for t in reading.region_classes(region) if t is not topic]
    return asker.answer(
        "content",
        asker.pose(name, R=region_name(region)),
        words.region(region, topic, others),
        topic.key,
        topic=topic,
        evidence=(region,),
        options=_content_options(asker),
    )


def _content_options(asker: Asker) -> dict[str, str]:
    options = {t.key: asker.words.name(t) for t in CLASS_TOPICS}
    return options | {"mixed": asker.words.mixed}


def ask_region_presence(asker: Asker) -> QA | None:
    """Is this class in that region?"""
    rng = asker.rng
    found = {
        (topic.key, key): regions
        for topic in TOPICS.values()
        for key, regions in _regions_by_answer(asker.reading, topic)
        if regions
        and asker.balance.wants(asker.slot(f"region_presence:{topic.key}"), key, ("yes", "no"))
    }
    if not found:
        return None
    slot = asker.slot("region_presence:class")
    key = asker.balance.rarest(rng, slot, sorted({key for _, key in found}))
    topics = [TOPICS[name] for name, given in found if given == key]
    topic = TUMOUR if TUMOUR in topics and rng.random() < TUMOUR_SHARE else pick(rng, topics)
    asker.balance.add(asker.slot(f"region_presence:{topic.key}"), key)
    if topic is not TUMOUR:
        asker.balance.add(slot, key)
    region = pick(rng, found[topic.key, key])
    return _answer_region(asker, "region_presence", topic, region, key)


def ask_region_again(asker: Asker) -> QA | None:
    """The same about another region: "and [R5]?"."""
    topic = asker.topic
    if topic is None:
        return None
    slot = asker.slot(f"region_presence.follow:{topic.key}")
    answers = [
        (key, regions)
        for key, regions in _regions_by_answer(asker.reading, topic)
        if regions and asker.balance.wants(slot, key, ("yes", "no"))
    ]
    if not answers:
        return None
    key, regions = pick(asker.rng, answers)
    asker.balance.add(slot, key)
    return _answer_region(asker, "content.follow", topic, pick(asker.rng, regions), key)


def _answer_region(asker: Asker, name: str, topic: Topic, region: int, key: str) -> QA:
    main = asker.reading.region_class(region)
    assert main is not None
    say = asker.words.region_yes if key == "yes" else asker.words.region_no
    return asker.answer(
        "region_presence",
        asker.pose(name, topic, R=region_name(region)),
        say(region, main),
        key,
        topic=topic,
        evidence=(region,),
        options=asker.words.polar,
    )


def _regions_by_answer(reading: Reading, topic: Topic) -> tuple[tuple[str, list[int]], ...]:
    """Regions of which it is clear that they show a topic, and that they don't."""
    share = reading.share(topic).tolist()
    nothing = (reading.share(topic) + reading.hidden(topic) < NOTHING).tolist()
    return (
        ("yes", [r for r, _ in reading.shown if share[r] >= EVIDENCE - 1e-6]),
        ("no", [r for r, _ in reading.shown if nothing[r]]),
    )
