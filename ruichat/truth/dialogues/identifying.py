"""Questions about what it is: type of tumour, one of several options, organ, main tissue."""

from __future__ import annotations

from collections.abc import Sequence

from ruichat.histology import BY_KEY
from ruichat.truth.dialogues.asker import MAX_CITED, Asker
from ruichat.truth.dialogues.grammar import pick
from ruichat.truth.dialogues.qa import QA
from ruichat.truth.dialogues.reading import CLASS_TOPICS, MALIGNANT_TOPICS, TOPICS, TUMOUR, Topic

OPTIONS_SHARE = 0.45
ORGAN_SHARE = 0.1
"""Shares of questions about the type that give options, and that ask for the organ."""


def ask_type(asker: Asker) -> QA | None:
    """Which tumour is it? Half of the time with options to choose from."""
    reading, words, rng = asker.reading, asker.words, asker.rng
    keys = [topic.key for topic in MALIGNANT_TOPICS] + ["none"]
    draw = rng.random()
    if draw < OPTIONS_SHARE:
        return _ask_options(asker)
    if draw < OPTIONS_SHARE + ORGAN_SHARE:
        return _ask_organ(asker)
    present = reading.tumour_regions
    if present:
        key = max(present, key=reading.overall).key
    elif reading.is_absent(TUMOUR):
        key = "none"
    else:
        return None
    if not asker.balance.accepts(rng, asker.slot("type"), key, keys):
        return None
    asker.balance.add(asker.slot("type"), key)
    follow = asker.topic is TUMOUR and asker.kind != "amount" and rng.random() < 0.5
    question = asker.pose("type.follow" if follow else "type")
    options = _type_options(asker, MALIGNANT_TOPICS)
    if not present:
        return asker.answer(
            "type", question, asker.missing(TUMOUR), key, topic=TUMOUR, options=options,
            evidence=reading.support(reading.dominant), allowed=reading.allowed(reading.dominant),
        )  # fmt: skip
    # The largest type comes first, so that the first name in an answer is its key.
    parts = sorted(asker.tumours(), key=lambda part: -reading.overall(part.topic))
    return asker.answer(
        "type", question, words.tumour_type(parts), key, topic=TUMOUR, options=options,
        evidence=reading.evidence(TUMOUR), allowed=reading.allowed(TUMOUR),
    )  # fmt: skip


def _type_options(asker: Asker, topics: Sequence[Topic]) -> dict[str, str]:
    options = {topic.key: asker.words.name(topic) for topic in topics}
    return options | {"none": asker.words.yes[1]}


_HARD_OPTIONS: tuple[tuple[str, ...], ...] = (
    ("lung_adenocarcinoma", "lung_squamous_carcinoma", "normal_lung"),
    ("oral_squamous_carcinoma", "normal_oral_mucosa", "lymphoid_tissue"),
    ("breast_carcinoma", "normal_glands", "fat"),
    ("nodal_metastasis", "lymphoid_tissue", "necrosis"),
    ("carcinoma_glands", "normal_glands", "colorectal_polyp"),
    ("carcinoma_nests", "stroma", "lymphoid_tissue"),
)
"""Sets in which the classes are mistaken for each other."""


def _ask_options(asker: Asker) -> QA | None:
    """Which of these is on the slide? Exactly one of two to four options is."""
    reading, rng = asker.reading, asker.rng
    hard = rng.random() < 0.5
    if hard:
        topics = [TOPICS[key] for key in pick(rng, _HARD_OPTIONS)]
        right = [topic for topic in topics if reading.is_present(topic)]
    else:
        if not reading.present_classes:
            return None
        present = [topic.key for topic in reading.present_classes]
        right = [TOPICS[asker.balance.rarest(rng, asker.slot("options"), present)]]
        others = [topic for topic in CLASS_TOPICS if topic not in right]
        num_wrong = int(rng.integers(1, 4))
        topics = right + [others[i] for i in rng.permutation(len(others))[:num_wrong]]
    wrong = [topic for topic in topics if topic not in right]
    if len(right) != 1 or not all(reading.is_absent(topic) for topic in wrong):
        return None
    topic = right[0]
    keys = tuple(sorted(t.key for t in topics))
    slot = asker.slot(f"options:{','.join(keys)}")
    if hard and not asker.balance.wants(slot, topic.key, keys):
        return None
    asker.balance.add(slot, topic.key)
    asker.balance.add(asker.slot("options"), topic.key)
    shuffled = [topics[i] for i in rng.permutation(len(topics))]
    return _answer_options(asker, topic, shuffled)


def _answer_options(asker: Asker, topic: Topic, topics: Sequence[Topic]) -> QA:
    words, reading = asker.words, asker.reading
    question = asker.pose("type.options").rstrip()
    letters = list_options([words.name(t) for t in topics], asker)
    return asker.answer(
        "type",
        f"{question} {letters}",
        words.location(asker.cited(topic)),
        topic.key,
        topic=topic,
        evidence=reading.evidence(topic),
        allowed=reading.allowed(topic),
        options={t.key: _start(words.name(t), asker) for t in topics},
    )


def _start(name: str, asker: Asker) -> str:
    """How the answer spells an option: without its first letter, whose case varies."""
    return name[1:] if asker.language == "en" else name


_OPTION_STYLES = ("{letter}. ", "{letter}) ", "({letter}) ", "{letter}: ", "{letter} ")


def list_options(names: Sequence[str], asker: Asker) -> str:
    """Options as "A. fat B. necrosis", in one of the usual styles."""
    style = pick(asker.rng, _OPTION_STYLES)
    separator = pick(asker.rng, (" ", "; ", ", ", "  "))
    if asker.language == "zh":
        style, separator = style.replace(". ", "．").rstrip(), pick(asker.rng, (" ", "；", "，"))
    parts = [style.format(letter="ABCDEF"[i]) + name for i, name in enumerate(names)]
    return separator.join(parts)


def _ask_organ(asker: Asker) -> QA | None:
    """Which organ is it? Told only where all that is there points to one."""
    reading, words = asker.reading, asker.words
    telling = [topic for topic in CLASS_TOPICS if BY_KEY[topic.key].organ]
    found = [topic for topic in telling if reading.is_present(topic)]
    if any(reading.overall(topic) > 0.02 for topic in telling if topic not in found):
        return None
    organs = {BY_KEY[topic.key].organ or "" for topic in found}
    key = organs.pop() if len(organs) == 1 else "organ"
    if not asker.balance.accepts(asker.rng, asker.slot("organ"), key, (*words.organs, "organ")):
        return None
    asker.balance.add(asker.slot("organ"), key)
    question = asker.pose("type.organ")
    if key == "organ":
        return asker.answer("cannot", question, words.cannot("organ"), key)
    regions = sorted({r for topic in found for r in reading.evidence(topic)})
    return asker.answer(
        "type",
        question,
        words.organ(key, regions[:MAX_CITED]),
        key,
        evidence=regions,
        allowed=sorted({r for topic in found for r in reading.allowed(topic)}),
        options={organ: f"{words.from_organ}{name}" for organ, name in words.organs.items()},
    )


def ask_dominant(asker: Asker) -> QA | None:
    """What is most of the tissue? Asked only where one class leads clearly."""
    reading = asker.reading
    topic = reading.dominant
    keys = [t.key for t in CLASS_TOPICS]
    if reading.lead < 0.1 or not asker.balance.accepts(
        asker.rng, asker.slot("dominant"), topic.key, keys
    ):
        return None
    asker.balance.add(asker.slot("dominant"), topic.key)
    return asker.answer(
        "dominant",
        asker.pose("dominant"),
        asker.words.main_tissue(asker.cited(topic), pure=asker.is_pure),
        topic.key,
        topic=topic,
        evidence=reading.support(topic),
        allowed=reading.allowed(topic),
        options={t.key: asker.words.name(t) for t in CLASS_TOPICS},
    )
