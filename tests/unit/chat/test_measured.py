"""Words about amounts are held against the tiles."""

from __future__ import annotations

import pytest
from fakes_chat import make_view

from ruichat.chat.measured import find_dispute, is_beside_the_point
from ruichat.histology import Language

VIEW = make_view(tumour_regions=(1, 3), num_regions=6)
"""R1, R2 and R3 lie on the left; R1 and R3 hold carcinoma nests."""


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("The left half has more carcinoma nests [R1][R3].", "en"),
        ("左半部分的肿瘤更多 [R1]。", "zh"),
        ("[R1] has more tumour than [R2].", "en"),
        ("[R3] 的癌巢比 [R4] 多。", "zh"),
        ("No, less than half of the tissue is carcinoma nests [R1].", "en"),
        ("Yes, there is tumour: carcinoma nests [R2].", "en"),
        ("[R1] has more tumour than [R77].", "en"),
    ],
)
def test_what_agrees_or_cannot_be_counted_stands(sentence: str, language: Language) -> None:
    assert find_dispute(sentence, VIEW, language) is None


@pytest.mark.parametrize(
    ("sentence", "language", "names"),
    [
        ("The right half has more carcinoma nests [R5].", "en", ("left half", "right half")),
        ("右半部分的癌巢更多 [R5]。", "zh", ("左半", "右半")),
        ("[R2] has more tumour than [R1].", "en", ("R2", "R1")),
        ("[R4] 的癌巢比 [R3] 多。", "zh", ("R4", "R3")),
        ("Yes, more than half of the tissue is carcinoma nests [R1].", "en", ("carcinoma nests",)),
    ],
)
def test_what_the_tiles_contradict_is_disputed_with_the_count(
    sentence: str, language: Language, names: tuple[str, ...]
) -> None:
    dispute = find_dispute(sentence, VIEW, language)
    assert dispute is not None
    assert tuple(name for name, _ in dispute.measured) == names
    if len(names) == 2:
        assert dispute.measured[0][1] != dispute.measured[1][1]


def test_halves_answer_only_questions_about_halves() -> None:
    half, region = "The upper half has more fat [R1].", "[R1] 的癌巢比 [R2] 多。"
    assert is_beside_the_point(half, "dominant") and is_beside_the_point(region, "presence")
    assert not is_beside_the_point(half, "side") and not is_beside_the_point(region, "compare")
    assert not is_beside_the_point("Yes, fat is seen [R1].", "presence")
