"""A question is data: cleaned, bounded, its language and kind read off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.chat.plain import strip_controls
from ruichat.chat.question import (
    KINDS,
    clean_question,
    named_regions,
    question_kind,
    question_language,
)
from ruichat.errors import InputError


def test_a_hundred_thousand_characters_are_refused() -> None:
    with pytest.raises(InputError, match="100000 characters; at most 1000"):
        clean_question("a" * 100_000)


@pytest.mark.parametrize("text", ["", "  \n", "\x1b\x07", "\u200b"])
def test_an_empty_question_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="empty"):
        clean_question(text)


def test_control_characters_are_dropped() -> None:
    assert clean_question("Is\x1b[31m there\ttumour\u202e?\n") == "Is[31m there tumour?"


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    assert all(c.isprintable() or c.isspace() for c in strip_controls(text) if c.isascii())
    assert "\x1b" not in strip_controls(text)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Is there tumour?", "en"),
        ("切片上有肿瘤吗？", "zh"),
        ("R7里有carcinoma吗", "zh"),
        ("Is 肿瘤 present in the upper half of the slide here?", "en"),
        ("123?", "en"),
        ("R3呢？", "zh"),
    ],
)
def test_language(text: str, language: str) -> None:
    assert question_language(text) == language


def test_a_bare_region_is_in_the_language_of_the_question_before() -> None:
    assert question_language("R7?", default="zh") == "zh"
    assert question_language("[R7]", default="en") == "en"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("What is in R7?", (7,)),
        ("compare [R3] with R12", (3, 12)),
        ("区域7和区域9", (7, 9)),
        ("region 4?", (4,)),
        ("R100?", (100,)),
        ("CR7 or 7R", ()),
        ("how large is it", ()),
        ("What is in region 150?", (150,)),
        ("区域150里是什么？", (150,)),
        ("What is in the region 200 µm below the surface?", ()),
    ],
)
def test_named_regions(text: str, numbers: tuple[int, ...]) -> None:
    assert named_regions(text) == numbers


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Is there tumour on this slide?", "presence"),
        ("Is there tumour on this slide, and where?", "presence_where"),
        ("切片上有肿瘤吗？在哪里？", "presence_where"),
        ("Where is the necrosis?", "where"),
        ("坏死在哪里？", "where"),
        ("What type of tumour is it?", "type"),
        ("What is in R3?", "content"),
        ("R3里是什么？", "content"),
        ("Is R3 necrotic?", "region_presence"),
        ("How much of it is tumour?", "amount"),
        ("肿瘤占多少？", "amount"),
        ("Is the tumour in the left half?", "side"),
        ("Compare R1 and R2", "compare"),
        ("Does R1 contain more tumour than R2?", "compare"),
        ("Describe the slide.", "describe"),
        ("Which tissue is dominant?", "dominant"),
        ("Is the slide in focus?", "quality"),
        ("What can you do?", "help"),
        ("hm", "other"),
    ],
)
def test_kind(text: str, kind: str) -> None:
    assert kind in KINDS
    assert question_kind(text) == kind
