"""Questions about what is there and where: presence, place, type, content."""

from __future__ import annotations

from collections.abc import Sequence

from ruichat.align.dialogues.answers import region_name
from ruichat.align.dialogues.asker import MAX_CITED, Asker
from ruichat.align.dialogues.grammar import pick
from ruichat.align.dialogues.qa import QA, Kind
from ruichat.align.dialogues.reading import (
    CLASS_TOPICS,
    EVIDENCE,
    MALIGNANT_TOPICS,
    TOPICS,
    TUMOUR,
    Reading,
    Topic,
)
from ruichat.align.symbolic import INDEX
from ruichat.histology import BY_KEY

NOTHING = 0.1
"""A region that holds less of a topic is asked about as one that doesn't show it."""

TUMOUR_SHARE = 0.35
"""Share of questions about presence or place that ask for tumour in general."""


def _choose_topic(asker: Asker, slot: str) -> Topic | None:
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


def _note(asker: Asker, slot: str, topic: Topic, qa: QA) -> QA:
    asker.balance.add(asker.slot(f"{slot}:{topic.key}"), qa.key)
    if topic is not TUMOUR:
        asker.balance.add(asker.slot(f"{slot}:class"), qa.key)
    return qa


def _ask_presence(asker: Asker, kind: Kind, name: str, topic: Topic) -> QA:
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
    topic = _choose_topic(asker, kind)
    if topic is None:
        return None
    name: str = kind
    if topic is TUMOUR and asker.rng.random() < 0.5:
        name = f"{kind}.tumour"
        if kind == "presence" and asker.rng.random() < 0.25:
            name = "presence.malignant"
    return _note(asker, kind, topic, _ask_presence(asker, kind, name, topic))


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
        options=words.polar,
    )


def ask_follow_up(asker: Asker) -> QA | None:
    """A question that needs the one before: "and where is it?", "what about fat?"."""
    if asker.topic is not None and asker.kind == "presence" and asker.rng.random() < 0.6:
        return _ask_presence(asker, "where", "where.follow", asker.topic)
    if asker.kind in ("presence", "where", "presence_where"):
        kind = asker.kind
        topic = _choose_topic(asker, f"{kind}.follow")
        if topic is None or topic is asker.topic:
            return None
        return _note(asker, f"{kind}.follow", topic, _ask_presence(asker, kind, "follow", topic))
    if asker.kind in ("content", "region_presence"):
        return ask_content(asker, name="content.follow")
    return None


def ask_type(asker: Asker) -> QA | None:
    """Which tumour is it? Half of the time with options to choose from."""
    reading, words, rng = asker.reading, asker.words, asker.rng
    keys = [topic.key for topic in MALIGNANT_TOPICS] + ["none"]
    if rng.random() < 0.5:
        return _ask_options(asker)
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
    words, rng = asker.words, asker.rng
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
    main = asker.reading.region_class(region)
    assert main is not None
    say = words.region_yes if key == "yes" else words.region_no
    return asker.answer(
        "region_presence",
        asker.pose("region_presence", topic, R=region_name(region)),
        say(region, main),
        key,
        topic=topic,
        evidence=(region,),
        options=words.polar,
    )


def _regions_by_answer(reading: Reading, topic: Topic) -> tuple[tuple[str, list[int]], ...]:
    """Regions of which it is clear that they show a topic, and that they don't."""
    share = reading.share(topic).tolist()
    nothing = (reading.share(topic) + reading.hidden(topic) < NOTHING).tolist()
    return (
        ("yes", [r for r, _ in reading.shown if share[r] >= EVIDENCE - 1e-6]),
        ("no", [r for r, _ in reading.shown if nothing[r]]),
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
