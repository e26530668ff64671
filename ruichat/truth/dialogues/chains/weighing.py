"""From what was seen to the answer, for each kind of question."""

from __future__ import annotations

from typing import cast

from ruichat.histology import BY_KEY
from ruichat.truth.dialogues.answers import Reason, region_name
from ruichat.truth.dialogues.asker import MAX_CITED
from ruichat.truth.dialogues.chains.observing import describe, observe, see
from ruichat.truth.dialogues.chains.thinker import Thinker
from ruichat.truth.dialogues.reading import ALLOWED, CLASS_TOPICS, TOPICS, TRACE, TUMOUR

MOST_SHARES = 3
"""Tissues whose share of the slide is weighed."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def weigh_presence(thinker: Thinker) -> None:
    """Is it there?"""
    observe(thinker)
    if not thinker.qa.topic:
        _weigh_normal(thinker)
        return
    _weigh_topic(thinker, MAX_CITED)
    thinker.say(f"say_{thinker.qa.key}")


def weigh_place(thinker: Thinker) -> None:
    """Where is it? The regions are the answer."""
    observe(thinker)
    _weigh_topic(thinker, thinker.reading.k)


def _weigh_topic(thinker: Thinker, limit: int) -> None:
    topic = TOPICS[thinker.qa.topic]
    if thinker.qa.key == "no":
        thinker.say_absent(topic)
        return
    if topic is TUMOUR:
        thinker.say_types()
    thinker.say_present(topic, limit)


def _weigh_normal(thinker: Thinker) -> None:
    reading = thinker.reading
    if thinker.qa.key == "no":
        thinker.say_types()
        thinker.say_present(TUMOUR, MAX_CITED)
    else:
        thinker.say("absent", X=thinker.words.missing_name(TUMOUR))
        seen = [t for t in CLASS_TOPICS if reading.share(t).max() >= ALLOWED - 1e-6]
        if all(BY_KEY[topic.key].behaviour == "normal" for topic in seen):
            thinker.say("normal")
    thinker.say(f"say_{thinker.qa.key}")


def weigh_type(thinker: Thinker) -> None:
    """Which tumour, which of the options, which organ?"""
    observe(thinker)
    qa, reading = thinker.qa, thinker.reading
    if not qa.topic:
        for topic in CLASS_TOPICS:
            organ = BY_KEY[topic.key].organ
            if organ and reading.is_present(topic):
                thinker.say("organ", X=thinker.words.name(topic), H=thinker.words.organs[organ])
        thinker.say("say_topic", X=thinker.words.organs[qa.key])
    elif TOPICS[qa.topic] is not TUMOUR:
        _weigh_options(thinker)
    elif qa.key == "none":
        thinker.say_absent(TUMOUR)
    else:
        thinker.say_types()
        types = sorted(reading.tumour_regions, key=reading.overall, reverse=True)
        for topic in types if len(types) > 1 else ():
            thinker.say_share("share", reading.overall(topic), topic)
        thinker.say("say_topic", X=thinker.words.name(TOPICS[qa.key]))


def _weigh_options(thinker: Thinker) -> None:
    for letter, key in zip(_LETTERS, thinker.qa.options, strict=False):
        regions = thinker.reading.evidence(TOPICS[key])[:MAX_CITED]
        name = thinker.words.name(TOPICS[key])
        thinker.say("option" if regions else "option_absent", regions, L=letter, X=name)
    letter = _LETTERS[thinker.qa.options.index(thinker.qa.key)]
    thinker.say("say_option", L=letter, X=thinker.words.name(TOPICS[thinker.qa.key]))


def weigh_content(thinker: Thinker) -> None:
    """What is in the region?"""
    qa, reading = thinker.qa, thinker.reading
    (region,) = qa.evidence
    thinker.say("asked", [region])
    for topic in reading.region_classes(region):
        thinker.say_share("within", float(reading.share(topic)[region]), topic, [region])
    if qa.key == "mixed":
        thinker.say("say_mixed")
    else:
        thinker.say("say_topic", X=thinker.words.name(TOPICS[qa.key]))


def weigh_region(thinker: Thinker) -> None:
    """Does the region show it?"""
    (region,) = thinker.qa.evidence
    thinker.say("asked", [region])
    describe(thinker, see(thinker.reading, region), (region,))
    name = thinker.words.name(TOPICS[thinker.qa.topic])
    thinker.say("is_it" if thinker.qa.key == "yes" else "is_not", [region], X=name)
    thinker.say(f"say_{thinker.qa.key}")


def weigh_dominant(thinker: Thinker) -> None:
    """What is most of it?"""
    observe(thinker)
    _say_shares(thinker)
    thinker.say("largest", X=thinker.words.name(thinker.reading.dominant))
    thinker.say("say_topic", X=thinker.words.name(TOPICS[thinker.qa.key]))


def _say_shares(thinker: Thinker) -> None:
    """Shares of the largest tissues, largest first."""
    order = sorted(CLASS_TOPICS, key=thinker.reading.overall, reverse=True)
    for topic in order[:MOST_SHARES]:
        if thinker.reading.overall(topic) >= TRACE:
            thinker.say_share("share", thinker.reading.overall(topic), topic)


def weigh_amount(thinker: Thinker) -> None:
    """How much? Measured, or a rough share."""
    qa, reading = thinker.qa, thinker.reading
    if not qa.topic:
        thinker.say("measured", F=f"{{{qa.key}}}")
        thinker.say("say_number")
        return
    observe(thinker)
    topic = TOPICS[qa.topic]
    if qa.key == "none":
        thinker.say_absent(topic)
        return
    thinker.say_present(topic, MAX_CITED)
    if qa.key in ("yes", "no", "small", "moderate", "most"):
        thinker.say_share("share", reading.overall(topic), topic)
        thinker.say({"yes": "say_over", "no": "say_under"}.get(qa.key, f"say_{qa.key}"))
    else:
        thinker.say("measured_beside", F=f"{{{qa.key}}}")
        thinker.say("say_number")


def weigh_side(thinker: Thinker) -> None:
    """Which half has more?"""
    observe(thinker)
    qa, reading = thinker.qa, thinker.reading
    topic = TOPICS[qa.topic]
    if qa.key == "none":
        thinker.say_absent(topic)
        return
    thinker.say_present(topic, MAX_CITED)
    halves = qa.options[:2]
    first = reading.slide.centre_xy[:, int(halves[0] == "upper")] < 0
    amount = reading.share(topic) * reading.slide.num_tiles
    share = float(amount[first].sum() / amount.sum())
    for half, part in zip(halves, (share, 1 - share), strict=True):
        thinker.say_share("half", part, topic, H=thinker.words.halves[half])
    if qa.key == "both":
        thinker.say("say_both")
    else:
        thinker.say("say_half", H=thinker.words.halves[qa.key])


def weigh_compare(thinker: Thinker) -> None:
    """Two regions: which has more, or do they show the same?"""
    qa, reading = thinker.qa, thinker.reading
    first, second = (int(r) for r in thinker.rng.permutation(qa.evidence))
    thinker.say("asked_two", [first], Q=region_name(second))
    if not qa.topic:
        for region in (first, second):
            describe(thinker, see(reading, region), (region,))
        thinker.say("say_alike" if qa.key == "yes" else "say_differ")
        return
    topic = TOPICS[qa.topic]
    for region in (first, second):
        thinker.say_share("within", float(reading.share(topic)[region]), topic, [region])
    if qa.key == "same":
        thinker.say("say_same")
    else:
        thinker.say("say_more", [int(qa.key[1:]) - 1])


def weigh_describe(thinker: Thinker) -> None:
    """Tumour or none, the main tissues, and how much."""
    observe(thinker)
    if thinker.qa.key == "yes":
        thinker.say_types()
        _say_shares(thinker)
        thinker.say("measured_beside", F="{tumour_percent}")
    else:
        thinker.say("absent", X=thinker.words.missing_name(TUMOUR))
        _say_shares(thinker)
    thinker.say("say_all")


def weigh_quality(thinker: Thinker) -> None:
    """Focus and stain are measured."""
    thinker.say("quality")


def weigh_help(thinker: Thinker) -> None:
    """Needs no slide."""
    thinker.say("help")


def weigh_refusal(thinker: Thinker) -> None:
    """Why it can't be told."""
    reason = cast(Reason, thinker.qa.key)
    if reason == "organ":
        observe(thinker)
        thinker.say("no_organ")
    else:
        thinker.say(reason)
    thinker.say("say_cannot")
