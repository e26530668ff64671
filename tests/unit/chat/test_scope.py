"""What a message asks: the slide, how to ask, or nothing that can be told."""

from __future__ import annotations

import numpy as np
import pytest

from ruichat.chat.scope import as_slide, follows_up, is_about_slide, is_greeting, spell_out
from ruichat.histology import Language
from ruichat.truth.dialogues import write_dialogue
from ruichat.truth.symbolic import SymbolicConfig, draw_symbolic_slide


@pytest.mark.parametrize(
    "text",
    ["hello", "Hi there!", "thanks", "help", "What can you do?", "你好", "谢谢！", "你能做什么？"],
)
def test_a_greeting_is_one(text: str) -> None:
    assert is_greeting(text)


@pytest.mark.parametrize(
    "text", ["hello, is there tumour?", "help me find necrosis", "你好，有肿瘤吗？"]
)
def test_a_greeting_before_a_question_is_a_question(text: str) -> None:
    assert not is_greeting(text) and is_about_slide(text)


@pytest.mark.parametrize(
    "text", ["???", "...", "asdf", "🙂", "1+1", "play chess", "你几岁", "下棋"]
)
def test_what_has_no_word_about_the_slide_is_not_about_it(text: str) -> None:
    assert not is_about_slide(text)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_question_that_training_writes_about_a_slide_is_about_it(language: Language) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        slide = draw_symbolic_slide(rng, SymbolicConfig())
        earlier = False
        for qa in write_dialogue(slide, rng, language):
            if qa.kind not in ("help", "cannot"):
                assert is_about_slide(qa.question) or (earlier and follows_up(qa.question)), (
                    qa.question
                )
            earlier = True


@pytest.mark.parametrize(
    "text",
    [
        "And where is it?",
        "What about fat?",
        "Where?",
        "how much?",
        "那坏死呢？",
        "在哪里？",
        "它有多大？",
    ],
)
def test_what_needs_the_question_before_follows_up(text: str) -> None:
    assert follows_up(text)


@pytest.mark.parametrize(
    "text",
    ["Is there tumour?", "Where is the necrosis?", "What is in R7?", "有肿瘤吗？", "R3里有什么？"],
)
def test_a_whole_question_stands_alone(text: str) -> None:
    assert not follows_up(text)


@pytest.mark.parametrize(
    ("note", "language", "full"),
    [
        ("necrosis?", "en", "Is there necrosis?"),
        ("any tumor", "en", "Is there tumor?"),
        ("mucus present?", "en", "Is there mucus?"),
        ("Dx?", "en", "What is the diagnosis?"),
        ("Where?", "en", "Where is the tumour?"),
        ("坏死", "zh", "有坏死吗？"),
        ("良恶性?", "zh", "是良性还是恶性？"),
        ("Is there tumour in R7?", "en", "Is there tumour in R7?"),
        ("tumour or necrosis", "en", "tumour or necrosis"),
    ],
)
def test_a_note_becomes_the_question_it_stands_for(
    note: str, language: Language, full: str
) -> None:
    assert spell_out(note, language) == full


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("What is in this region?", "What is in this slide?"),
        ("Is there tumour in the selected area?", "Is there tumour in this slide?"),
        ("describe that box", "describe this slide"),
        ("What is in region R7?", "What is in region R7?"),
        ("the area of the tumour", "the area of the tumour"),
        ("这个区域是什么？", "这张切片是什么？"),
        ("所画区域有肿瘤吗？", "这张切片有肿瘤吗？"),
        ("框选的区域里有什么", "这张切片里有什么"),
        ("区域7里有什么", "区域7里有什么"),
    ],
)
def test_what_was_drawn_is_asked_about_as_a_slide(asked: str, told: str) -> None:
    assert as_slide(asked) == told
