"""Sentences and citations, in both languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.chat.sentences import cited_names, is_abstention, is_claim, split_sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes. There is tumour in [R3].", ["Yes.", "There is tumour in [R3]."]),
        (
            "Nests of tumour. [R7][R12] The rest is fat.",
            ["Nests of tumour. [R7][R12]", "The rest is fat."],
        ),
        ("Tumour is here. [R3] shows necrosis.", ["Tumour is here.", "[R3] shows necrosis."]),
        ("Glands, e.g. in [R2], of 0.5 mm. Fat.", ["Glands, e.g. in [R2], of 0.5 mm.", "Fat."]),
        ("1. Tumour. 2. Fat.", ["1. Tumour.", "2. Fat."]),
        ("About 40%. H. pylori is absent.", ["About 40%.", "H. pylori is absent."]),
        ("有肿瘤[R3]。其余为脂肪。", ["有肿瘤[R3]。", "其余为脂肪。"]),
        ("有肿瘤。[R3]可见坏死。", ["有肿瘤。", "[R3]可见坏死。"]),
        ("有肿瘤。[R3]", ["有肿瘤。[R3]"]),
        ("“是。”左侧为主！", ["“是。”", "左侧为主！"]),
        ("no stop", ["no stop"]),
        ("", []),
    ],
)
def test_split(text: str, expected: list[str]) -> None:
    assert [part.strip() for part in split_sentences(text)] == expected


@given(st.text(alphabet="ab R[]12.。!？ \n", max_size=80) | st.text(max_size=80))
def test_sentences_join_to_the_text(text: str) -> None:
    parts = split_sentences(text)
    assert "".join(parts) == text
    assert all(parts)


def test_citations_are_named_once_in_order() -> None:
    assert cited_names("[R7] and [R12], [R7]; R3 and [R 4] and [S5]") == ("R7", "R12")


@pytest.mark.parametrize(
    "text",
    [
        "Cannot determine: HER2 needs a stain.",
        "This cannot be determined from the slide.",
        "It can't be told here.",
        "无法判定：需要免疫组化。",
        "从切片上不能判断预后。",
        "该问题难以确定。",
    ],
)
def test_abstentions_claim_nothing(text: str) -> None:
    assert is_abstention(text)
    assert not is_claim(text)


@pytest.mark.parametrize("text", ["Tumour in [R3].", "No.", "没有肿瘤。", "It is not fat."])
def test_statements_are_claims(text: str) -> None:
    assert is_claim(text)


@pytest.mark.parametrize("text", ["Which region do you mean?", "[R3][R4].", " ", "哪个区域？"])
def test_questions_and_bare_citations_are_not(text: str) -> None:
    assert not is_claim(text)
