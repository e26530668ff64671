"""Questions about whether something is on the slide, and where."""

from __future__ import annotations

from ruichat.histology import BY_KEY
from ruichat.truth.dialogues.asker import MAX_CITED, Asker
from ruichat.truth.dialogues.grammar import pick
from ruichat.truth.dialogues.qa import QA, Kind
from ruichat.truth.dialogues.reading import TUMOUR, Topic
from ruichat.truth.symbolic import INDEX

TUMOUR_SHARE = 0.35
"""Share of questions about presence or place that ask for tumour in general."""


def choose_topic(asker: Asker, slot: str) -> Topic | None:
    """A topic whose presence or absence is clear here and is the answer wanted next."""
    answers = [
        (topic, key)
        for topic, key in asker.reading.answers
        if asker.balance.wants(asker.slot(f"{slot}:{topic.key}"), key, ("yes", "no"))
    ]
    if not answers:
        return None
    tumour = [topic for topic, _ in answers if topic is TUMOUR]
    if tumour and asker.rng.random() < TUMOUR_SHARE:
        return TUMOUR
    # Most classes are absent from most slides: choose the answer first, then the class.
    key = asker.balance.rarest(
        asker.rng, asker.slot(f"{slot}:class"), sorted({key for _, key in answers})
    )
    return pick(asker.rng, [topic for topic, given in answers if given == key])


def note(asker: Asker, slot: str, topic: Topic, qa: QA) -> QA:
    """Count an answer about a topic chosen by `choose_topic`."""
    asker.balance.add(asker.slot(f"{slot}:{topic.key}"), qa.key)
    if topic is not TUMOUR:
        asker.balance.add(asker.slot(f"{slot}:class"), qa.key)
    return qa


def ask_in_words(asker: Asker, kind: Kind, name: str, topic: Topic) -> QA:
    """Ask whether (and where) a topic is there, in the words of `name`."""
    limit = MAX_CITED if kind == "presence" else asker.reading.k
    if kind == "where":
        found = asker.words.location(asker.cited(topic, limit))
        question = asker.pose(name, topic)
        return asker.found_or_not(kind, question, topic, found=found, marker=asker.words.seen_in)
    if name == "presence.malignant":
        found = asker.words.malignant(asker.tumours(limit))
        question = asker.pose(name)
        return asker.found_or_not(kind, question, topic, found=found, marker=asker.words.malign)
    if topic is TUMOUR:
        found = asker.words.tumour_found(asker.tumours(limit))
    else:
        found = asker.words.found(asker.cited(topic, limit))
    return asker.found_or_not(kind, asker.pose(name, topic), topic, found=found)


def _asks(kind: Kind, asker: Asker) -> QA | None:
    topic = choose_topic(asker, kind)
    if topic is None:
        return None
    name: str = kind
    if topic is TUMOUR and asker.rng.random() < 0.5:
        name = f"{kind}.tumour"
        if kind == "presence" and asker.rng.random() < 0.25:
            name = "presence.malignant"
    return note(asker, kind, topic, ask_in_words(asker, kind, name, topic))


def ask_presence(asker: Asker) -> QA | None:
    """Is there tumour, or a class?"""
    if asker.rng.random() < 0.12 and (qa := _ask_normal(asker)):
        return qa
    return _asks("presence", asker)


def ask_presence_where(asker: Asker) -> QA | None:
    """Is it there, and where?"""
    return _asks("presence_where", asker)


def ask_where(asker: Asker) -> QA | None:
    """Where is it?"""
    return _asks("where", asker)


def _ask_normal(asker: Asker) -> QA | None:
    """Is the tissue normal? Asked only where it is, or where there is tumour."""
    reading, words = asker.reading, asker.words
    present = reading.present_classes
    tumour = reading.is_present(TUMOUR)
    normal = all(BY_KEY[t.key].behaviour == "normal" for t in present) and reading.is_absent(TUMOUR)
    strange = sum(
        float(reading.slide.composition[i])
        for key, i in INDEX.items()
        if BY_KEY[key].behaviour != "normal"
    )
    if not present or not (tumour or (normal and strange < 0.05)):
        return None
    key = "no" if tumour else "yes"
    slot = asker.slot("presence:normal")
    if not asker.balance.wants(slot, key, ("yes", "no")):
        return None
    asker.balance.add(slot, key)
    parts = asker.tumours() if tumour else [asker.cited(t, 3) for t in present[:3]]
    answer = words.not_normal(parts) if tumour else words.normal(parts)
    return asker.answer(
        "presence",
        asker.pose("presence.normal"),
        answer,
        key,
        evidence=reading.evidence(TUMOUR) if tumour else [r for p in parts for r in p.regions],
        allowed=reading.allowed(TUMOUR) if tumour else range(reading.k),
        options=words.normality,
    )
