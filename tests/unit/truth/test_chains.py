"""Thoughts: every sentence is true of the slide it was written from, in both languages."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from ruichat.histology import CLASSES, Language
from ruichat.truth.dialogues import KINDS, QA, Balance, write_dialogue
from ruichat.truth.dialogues.answers import GROUP_NAMES
from ruichat.truth.dialogues.chains import write_chain
from ruichat.truth.dialogues.chains.thinker import load_wordings
from ruichat.truth.dialogues.reading import TOPICS, Reading, Topic
from ruichat.truth.symbolic import SymbolicSlide, draw_symbolic_slide

LANGUAGES: tuple[Language, ...] = ("en", "zh")
WHOLE_SLIDE = ("presence", "presence_where", "where", "dominant", "side", "describe")

REGION = re.compile(r"\[R(\d+)\]")
END = re.compile(r"(?<=[a-z\]%])\. |[.;。；]\s*$|; |；|(?<!\d)。")
ABSENT = re.compile(r"\b(?:no|none|nowhere)\b|无|未见|没有", re.IGNORECASE)
UNDER_HALF = re.compile(r"under one half|不到一半")
HALF = re.compile(r"half of|half or more|一半")
SHARE = re.compile(r"(about|under|约|不到)[^%；。]*?(\d+)%", re.IGNORECASE)
WHOLE = re.compile(r"of the tissue|组织", re.IGNORECASE)


def spellings() -> dict[str, Topic]:
    """Every way in which a thought names a tissue."""
    names = {name: TOPICS[item.key] for item in CLASSES for name in (item.en, item.zh)}
    names |= {name: TOPICS[key] for key, pair in GROUP_NAMES.items() for name in pair}
    return names | {"malignant tumour": TOPICS["tumour"], "恶性肿瘤": TOPICS["tumour"]}


NAMES = spellings()
NAME = re.compile("|".join(sorted(map(re.escape, NAMES), key=len, reverse=True)), re.IGNORECASE)


def check_sentence(text: str, reading: Reading) -> None:
    """Raise if a sentence says of a region or the slide what isn't so."""
    regions = [int(number) - 1 for number in REGION.findall(text)]
    topics = [NAMES[name.lower()] for name in NAME.findall(text)]
    assert all(0 <= region < reading.k for region in regions), text
    for topic in topics:
        share = reading.share(topic)
        percent = SHARE.search(text)
        if percent and "half" not in text.lower().replace("under one half", "") and regions:
            check_percent(percent, float(share[regions[0]]))
        elif percent and WHOLE.search(NAME.sub("", text)) and not regions:
            check_percent(percent, reading.overall(topic))
        elif ABSENT.search(text):
            assert share[regions].max(initial=0) < 0.25 if regions else share.max() < 0.25, text
        elif regions:
            assert share[regions].min() >= 0.25 - 1e-6, (text, share[regions])
        if regions and not percent and UNDER_HALF.search(text):
            assert share[regions].max() < 0.5, text
        elif regions and not percent and HALF.search(text):
            assert share[regions].min() >= 0.5 - 1e-6, text


def check_percent(found: re.Match[str], share: float) -> None:
    if found[1].lower() in ("under", "不到"):
        assert share < int(found[2]) / 100, found.string
    else:
        assert abs(share - int(found[2]) / 100) <= 0.05 + 1e-6, found.string


def check(thought: str, slide: SymbolicSlide) -> None:
    reading = Reading(slide)
    for sentence in END.split(thought):
        check_sentence(sentence, reading)


@cache
def run(num: int = 90) -> list[tuple[SymbolicSlide, QA, str]]:
    rng, balance = np.random.default_rng(11), Balance()
    written: list[tuple[SymbolicSlide, QA, str]] = []
    for i in range(num):
        slide = draw_symbolic_slide(rng)
        for qa in write_dialogue(slide, rng, LANGUAGES[i % 2], balance=balance, num_turns=3):
            written.append((slide, qa, write_chain(qa, slide, rng)))
    return written


@given(seed=st.integers(0, 2**32 - 1), language=st.sampled_from(LANGUAGES))
@limits(max_examples=25)
def test_every_sentence_is_true(seed: int, language: Language) -> None:
    rng = np.random.default_rng(seed)
    slide = draw_symbolic_slide(rng)
    for qa in write_dialogue(slide, rng, language, num_turns=4):
        check(write_chain(qa, slide, rng), slide)
        check(write_chain(qa, slide, rng, plain=True), slide)


def test_the_check_finds_thoughts_about_another_slide() -> None:
    written = [item for item in run() if item[1].kind in WHOLE_SLIDE]
    found = 0
    for (slide, _, _), (_, _, thought) in zip(written, written[7:], strict=False):
        try:
            check(thought, slide)
        except AssertionError:
            found += 1
    assert found > 0.85 * (len(written) - 7)


def test_all_kinds_are_thought_about_in_both_languages() -> None:
    count = Counter((qa.kind, qa.language) for _, qa, _ in run())
    assert all(count[kind, language] for kind in KINDS for language in LANGUAGES), count
    for _, qa, thought in run():
        assert bool(re.search(r"[一-鿿]", thought)) == (qa.language == "zh"), thought
        assert thought == thought.strip() and "  " not in thought, thought


def test_no_slot_is_left_open() -> None:
    facts = re.compile(r"\{(?:[a-z]+_[a-z0-9_]+|focus|stain|mpp)\}")
    for _, _, thought in run():
        assert not set("{}<>|") & set(facts.sub("", thought)), thought


def test_questions_about_the_whole_slide_look_at_every_region() -> None:
    for slide, qa, thought in run():
        seen = {int(number) for number in REGION.findall(thought)}
        if qa.kind in WHOLE_SLIDE:
            assert seen == set(range(1, slide.num_regions + 1)), (qa.kind, thought)
        if qa.kind in ("content", "region_presence", "compare"):
            assert seen == {region + 1 for region in qa.evidence}


def test_the_conclusion_is_the_answer() -> None:
    for _, qa, thought in run():
        end = re.split(r"(?<=[a-z\]%])\. |。", thought.rstrip(".。"))[-1]
        if qa.kind in ("presence", "presence_where", "region_presence"):
            says_no = bool(re.search(r"\bno\b|否", end))
            assert says_no == (qa.key == "no"), (qa.key, end)
        if qa.kind in ("content", "dominant") and qa.key != "mixed":
            name = next(c.name(qa.language) for c in CLASSES if c.key == qa.key)
            assert end.endswith(name), (qa, end)
        if qa.kind == "type" and qa.topic and qa.topic != "tumour":
            letter = "ABCDEF"[qa.options.index(qa.key)]
            assert re.search(rf"{letter}[,，]", end), (qa, end)
        if qa.kind == "compare" and qa.key.startswith("R"):
            assert REGION.findall(end) == [qa.key[1:]]


def test_without_a_slide_no_region_is_named() -> None:
    rng = np.random.default_rng(0)
    for language in LANGUAGES:
        for _ in range(40):
            for qa in write_dialogue(None, rng, language):
                thought = write_chain(qa, None, rng)
                assert thought and not REGION.search(thought)


def test_the_same_seed_thinks_the_same() -> None:
    slide, qa, _ = run()[0]
    one, other = (write_chain(qa, slide, np.random.default_rng(5)) for _ in range(2))
    assert one == other


def test_both_languages_hold_the_same_wordings() -> None:
    en, zh = load_wordings("en"), load_wordings("zh")
    assert en.keys() == zh.keys()
    for name in en:
        for language, lines in (("en", en[name]), ("zh", zh[name])):
            slots = [frozenset(slots_of(text)) for line in lines for text in line.expand()]
            assert len(set(slots)) == 1, (language, name)
        one, other = (frozenset(slots_of(lines[0].expand()[0])) for lines in (en[name], zh[name]))
        assert one == other, name


def slots_of(text: str) -> set[str]:
    return set(re.findall(r"\{([A-Z]|[a-z]+_[a-z]+)\}", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_wordings_vary(language: Language) -> None:
    slide, qa, _ = next(item for item in run() if item[1].language == language)
    thoughts = {write_chain(qa, slide, np.random.default_rng(i)) for i in range(12)}
    assert len(thoughts) > 6


def test_plain_thoughts_have_one_wording() -> None:
    for slide, qa, _ in run():
        # Which of two regions comes first is drawn all the same.
        if qa.kind != "compare":
            thoughts = {
                write_chain(qa, slide, np.random.default_rng(i), plain=True) for i in range(3)
            }
            assert len(thoughts) == 1
