"""Dialogues: true to their slide, balanced, equal in both languages, held-out wordings unseen."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest

from ruichat.errors import ConfigError
from ruichat.histology import KEYS, Language
from ruichat.model.vocabulary import CANNOT, FACT_PIECES
from ruichat.truth.dialogues import KINDS, QA, Balance, Split, write_dialogue
from ruichat.truth.dialogues.grammar import canonical, parse
from ruichat.truth.dialogues.phrasebook import load_phrasebook
from ruichat.truth.dialogues.reading import TOPICS, Reading
from ruichat.truth.symbolic import SymbolicSlide, draw_symbolic_slide

LANGUAGES: tuple[Language, ...] = ("en", "zh")
REGION = re.compile(r"\[R(\d+)\]")


@cache
def run(split: Split = "train", num: int = 400) -> list[tuple[SymbolicSlide, list[QA]]]:
    """Dialogues as a training run would write them, with one balance."""
    rng, balance = np.random.default_rng(7), Balance()
    slides = [draw_symbolic_slide(rng) for _ in range(121)]
    return [
        (slide := slides[i % len(slides)],
         write_dialogue(slide, rng, LANGUAGES[i % 2], split=split, balance=balance))
        for i in range(num)
    ]  # fmt: skip


def turns(split: Split = "train") -> list[tuple[SymbolicSlide, QA]]:
    return [(slide, qa) for slide, dialogue in run(split) for qa in dialogue]


def test_all_kinds_in_both_languages() -> None:
    count = Counter((qa.language, qa.kind) for _, qa in turns())
    assert all(count[language, kind] >= 4 for language in LANGUAGES for kind in KINDS), count
    for kind in KINDS:
        assert 0.4 < count["en", kind] / count["zh", kind] < 2.5, kind


def test_presence_is_yes_half_of_the_time_for_every_topic() -> None:
    answers: defaultdict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for _, qa in turns():
        if qa.kind in ("presence", "where", "presence_where", "region_presence"):
            answers[qa.kind, "tumour" if qa.topic == "tumour" else "class", qa.language][
                qa.key
            ] += 1
            answers["any", qa.topic, qa.language][qa.key] += 1
    for name, count in answers.items():
        total = count["yes"] + count["no"]
        slack = 0.05 + 4 / total
        assert abs(count["yes"] / total - 0.5) <= slack, (name, count)


def test_the_question_alone_does_not_give_the_answer() -> None:
    """A classifier over the words of questions stays near the better of chance and prior."""
    polar = [qa for _, qa in turns() if set(qa.options) == {"yes", "no"}]
    half = len(polar) // 2
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for qa in polar[:half]:
        for word in words_of(qa):
            seen[word][qa.key] += 1
    right = 0
    for qa in polar[half:]:
        score = sum(
            np.log((seen[word]["yes"] + 5) / (seen[word]["no"] + 5)) for word in words_of(qa)
        )
        right += (score > 0) == (qa.key == "yes")
    assert right / (len(polar) - half) < 0.56


def words_of(qa: QA) -> set[str]:
    text = qa.question.lower()
    return set(re.findall(r"\w+", text)) if qa.language == "en" else set(text)


def test_options_are_right_equally_often_in_every_place() -> None:
    place: Counter[int] = Counter()
    for _, qa in turns():
        if qa.kind == "type" and 1 < len(qa.options) < 9:
            place[qa.options.index(qa.key)] += len(qa.options)
    mean = sum(place.values()) / 4
    assert place[0] < 1.6 * mean


def test_evidence_holds_what_was_asked() -> None:
    for slide, qa in turns():
        if qa.kind in ("presence", "where", "presence_where") and qa.topic and qa.key == "yes":
            reading = Reading(slide)
            topic = TOPICS[qa.topic]
            share = slide.fractions[:, [KEYS.index(key) for key in topic.members]].sum(axis=1)
            assert qa.evidence == tuple(np.flatnonzero(share >= 0.5 - 1e-6)), qa
            assert set(qa.evidence) <= set(qa.allowed) == set(reading.allowed(topic))
        if qa.kind in ("presence", "where", "presence_where") and qa.key == "no" and qa.topic:
            share = Reading(slide).share(TOPICS[qa.topic])
            assert share.max() < 0.25, qa


def test_citations_exist_and_are_allowed() -> None:
    for slide, qa in turns():
        cited = [int(number) - 1 for number in REGION.findall(qa.answer)]
        if qa.kind == "help":
            continue
        assert all(0 <= region < slide.num_regions for region in cited), qa
        assert set(cited) <= set(qa.allowed), qa
        if qa.kind in ("where", "presence_where") and qa.key == "yes":
            assert set(qa.evidence) <= set(cited)
        if qa.kind not in ("cannot", "quality", "amount"):
            assert cited, qa


def test_the_key_can_be_read_off_the_answer() -> None:
    for _, qa in turns():
        if qa.options:
            assert qa.key in qa.options
            assert qa.read_key(qa.answer) == qa.key, qa
        assert qa.read_key("") is None


def test_what_cannot_be_told_begins_with_the_piece() -> None:
    for _, qa in turns():
        assert qa.answer.startswith(CANNOT) == (qa.kind == "cannot"), qa
        assert qa.answer.count(CANNOT) == int(qa.kind == "cannot")


def test_answers_are_filled_and_in_their_language() -> None:
    for _, qa in turns():
        plain = qa.answer
        for piece in FACT_PIECES:
            plain = plain.replace(piece, "")
        assert not set("{}()") & set(plain), qa
        assert not set("{}<>") & set(qa.question), qa
        assert bool(re.search(r"[一-鿿]", plain)) == (qa.language == "zh"), qa
        assert "  " not in qa.answer and qa.answer == qa.answer.strip()


@pytest.mark.parametrize("language", LANGUAGES)
def test_held_out_wordings_are_never_drawn_in_training(language: Language) -> None:
    rng = np.random.default_rng(0)
    for name, wordings in load_phrasebook(language).questions.items():
        num_lines = len(wordings.test) + len(wordings.train)
        assert wordings.unseen, f"{language} {name}: no wording is held out"
        assert 0.05 < len(wordings.test) / num_lines <= 0.25, name
        unseen = {canonical(text) for texts in wordings.unseen for text in texts}
        assert not unseen & wordings.trained
        for _ in range(20):
            assert canonical(wordings.draw(rng, "train")) not in unseen, name
            assert canonical(wordings.draw(rng, "test")) not in wordings.trained, name


def test_both_languages_hold_the_same_questions() -> None:
    en, zh = load_phrasebook("en"), load_phrasebook("zh")
    assert en.questions.keys() == zh.questions.keys()
    assert en.mentions.keys() == zh.mentions.keys() == TOPICS.keys()
    assert en.things.keys() == zh.things.keys()
    assert en.replies.keys() == zh.replies.keys()


def test_the_same_seed_writes_the_same() -> None:
    slide = draw_symbolic_slide(np.random.default_rng(3))
    one, other = (write_dialogue(slide, np.random.default_rng(4), "zh") for _ in range(2))
    assert one == other


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_can_be_chosen(kind: str) -> None:
    rng = np.random.default_rng(0)
    slides = [draw_symbolic_slide(rng) for _ in range(40)]
    written = [qa for s in slides for qa in write_dialogue(s, rng, "en", [kind], num_turns=1)]
    assert written and {qa.kind for qa in written} == {kind}


def test_unknown_kind_is_refused() -> None:
    slide = draw_symbolic_slide(np.random.default_rng(3))
    with pytest.raises(ConfigError, match="unknown question kinds"):
        write_dialogue(slide, np.random.default_rng(0), "en", ["colour"])


def test_without_a_slide_nothing_is_claimed() -> None:
    rng = np.random.default_rng(0)
    for language in LANGUAGES:
        for _ in range(100):
            for qa in write_dialogue(None, rng, language):
                assert qa.kind in ("cannot", "help")
                assert not qa.evidence


def test_grammar() -> None:
    wording = parse("(is|are) <what>(|, (now|then))?", {"what": "it|that"})
    assert len(wording.expand()) == 12
    assert wording.draw(np.random.default_rng(0)) in wording.expand()
    for broken in ("(a|b", "a)b", "<nothing>"):
        with pytest.raises(ConfigError):
            parse(broken, {})
