"""Questions about how much, what overall, and how good the slide is."""

from __future__ import annotations

from ruichat.truth.dialogues.answers import Share
from ruichat.truth.dialogues.asker import MAX_BACKGROUND, Asker
from ruichat.truth.dialogues.grammar import pick
from ruichat.truth.dialogues.qa import QA
from ruichat.truth.dialogues.reading import CLASS_TOPICS, TOPICS, TRACE, TUMOUR, Topic

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


def ask_describe(asker: Asker) -> QA | None:
    """Describe the slide: tumour or none, main tissue, other tissues, amount of tumour."""
    reading, words = asker.reading, asker.words
    present = reading.is_present(TUMOUR)
    if not (present or reading.is_absent(TUMOUR)) or not reading.present_classes:
        return None
    slot, key = asker.slot("describe"), "yes" if present else "no"
    if not asker.balance.wants(slot, key, ("yes", "no")):
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
