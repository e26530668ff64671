"""Answers against their truth: what counts as right, and what its citations are worth."""

from __future__ import annotations

import pytest

from ruichat.model.vocabulary import CANNOT
from ruichat.truth.dialogues import QA
from ruichat.truth.scoring import score_answer

FAT = QA(
    "Is there fat?",
    "Yes, fat [R1][R2].",
    "en",
    "presence",
    "yes",
    evidence=(0, 1),
    allowed=(0, 1, 4),
    options=("yes", "no"),
    markers=("Yes", "No"),
)
OPEN = QA("Is it HER2 positive?", f"{CANNOT}Not on H&E.", "en", "cannot", "ihc")
MEASURED = QA("How large?", "{tissue_mm2} [R1].", "en", "amount", "tissue_mm2")


@pytest.mark.parametrize(
    ("qa", "answer", "correct"),
    [
        (FAT, "Yes, there is.", True),
        (FAT, "No. Yes is what others say.", False),
        (FAT, "Perhaps.", False),
        (FAT, f"{CANNOT}Yes.", False),
        (OPEN, f" {CANNOT}It can't be told.", True),
        (OPEN, "Yes.", False),
        (MEASURED, "Any words.", None),
        (MEASURED, f"{CANNOT}No.", False),
    ],
)
def test_the_first_option_counts_unless_refused(qa: QA, answer: str, correct: bool | None) -> None:
    assert score_answer(qa, answer).correct is correct


def test_regions_count_once() -> None:
    score = score_answer(FAT, "Yes [R2][R5][R2]; no [R9].")
    assert score.cited == (1, 4, 8)
    assert (score.num_right, score.num_found) == (2, 1)
