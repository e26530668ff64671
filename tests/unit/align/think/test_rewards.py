"""Rewards: values computed by hand, and what tries to earn without being right."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.align.think.rewards import (
    NAMES,
    RewardConfig,
    Truth,
    cited,
    fitting,
    fluency,
    right,
    score,
)
from ruichat.align.think.written import Marks, Written, read_written
from ruichat.truth.datasets.dialogue import Turn

MARKS = Marks(think=1, think_end=2, end=3)
WORDS = dict(enumerate(["", "<|think|>", "<|/think|>", "<|end|>", " ", "fat", "yes", "<|user|>"]))

WHERE = Truth(
    kind="where",
    answer="Fat is seen in [R1][R2].",
    key="yes",
    options=("yes", "no"),
    markers=("seen in", "No "),
    evidence=(0, 1),
    allowed=(0, 1, 2),
    area_mm2=(1.0, 3.0, 2.0, 4.0),
)
AMOUNT = Truth(kind="amount", answer="Tumour makes up {tumour_percent} of the tissue.")
NEVER = Truth(kind="cannot", answer="<|cannot|>Cannot determine: no.", refuse=True)


def spell(ids: Sequence[int]) -> str:
    return "".join(WORDS.get(i, "word ") for i in ids)


def test_the_right_option_is_the_one_said_first() -> None:
    assert right(WHERE, "Fat is seen in [R1].") == 1
    assert right(WHERE, "No fat is seen; the tissue is mucus.") == 0
    assert right(WHERE, "No fat, although fat is seen in [R1].") == 0
    assert right(WHERE, "") == right(WHERE, "Perhaps.") == 0


def test_a_refusal_is_right_only_where_nothing_can_be_told() -> None:
    assert right(NEVER, "<|cannot|>Cannot determine.") == 1
    assert right(NEVER, "Yes.") == 0
    assert right(WHERE, "<|cannot|>Cannot determine: seen in nothing.") == 0


def test_a_value_is_right_if_exactly_its_fact_is_quoted() -> None:
    assert right(AMOUNT, "It is {tumour_percent}.") == 1
    assert right(AMOUNT, "It is {tumour_percent}, {tumour_mm2}, {mpp}.") == 0
    assert right(AMOUNT, "It is a lot.") == 0


def test_without_options_an_answer_is_right_word_for_word() -> None:
    truth = Truth(kind="help", answer="Mucus is a slimy substance.")
    assert right(truth, " Mucus is  a slimy substance. ") == 1
    assert right(truth, "Mucus is a substance.") == 0


def test_cited_regions_by_area() -> None:
    assert cited(WHERE, "seen in [R1][R2]") == 1
    # Precision 3/3, recall 3/4.
    assert cited(WHERE, "seen in [R2]") == pytest.approx(2 * 1 * 0.75 / 1.75)
    # A region that is only allowed is precise and finds nothing: precision 3/3, recall 1/4.
    assert cited(WHERE, "seen in [R1][R3]") == pytest.approx(2 * 1 * 0.25 / 1.25)
    # Precision 4/8, recall 1.
    assert cited(WHERE, "seen in [R1][R2][R4]") == pytest.approx(2 * 0.5 / 1.5)
    assert cited(WHERE, "seen in [R3]") == cited(WHERE, "seen in [R4]") == 0
    assert cited(WHERE, "seen nowhere") == 0


def test_due_is_no_more_than_the_right_answer_cites() -> None:
    truth = Truth("presence", "Yes [R1].", evidence=(0, 1), allowed=(0, 1), area_mm2=(2.0, 2.0))
    assert cited(truth, "Yes [R2].") == cited(truth, "Yes [R1][R2].") == 1


def test_citing_is_wrong_where_none_is_due() -> None:
    assert cited(AMOUNT, "It is {tumour_percent}.") == 1
    assert cited(AMOUNT, "It is {tumour_percent} [R1].") == 0


@pytest.mark.parametrize(
    "attack",
    [
        "seen in [R1][R2][R3][R4]",
        "seen in " + "[R1]" * 8 + "[R2]",
        "seen in [R1][R2][R99]",
        "seen in [R4], fat [R1], fat [R1], fat [R1], fat [R1], fat [R2]",
    ],
)
def test_citing_more_or_again_earns_less(attack: str) -> None:
    assert 0 <= cited(WHERE, attack) < 0.8


@given(
    regions=st.lists(st.integers(0, 5), max_size=12),
    evidence=st.sets(st.integers(0, 3)),
    more=st.sets(st.integers(0, 3)),
)
def test_citations_earn_all_only_where_nothing_is_wrong(
    regions: list[int], evidence: set[int], more: set[int]
) -> None:
    due = "".join(f"[R{r + 1}]" for r in sorted(evidence))
    truth = Truth(
        "where",
        due,
        evidence=tuple(evidence),
        allowed=tuple(evidence | more),
        area_mm2=(1.0, 2.0, 3.0, 4.0),
    )
    earned = cited(truth, "".join(f"[R{r + 1}]" for r in regions))
    assert 0 <= earned <= 1
    perfect = evidence <= set(regions) <= evidence | more and len(regions) == len(set(regions))
    assert (earned == pytest.approx(1)) == perfect


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        ([1, 5, 2, 6, 3], ""),
        ([6, 3], "no_thought"),
        ([], "no_thought"),
        ([6, 1, 5, 2, 6, 3], "no_thought"),
        ([1, 5, 6, 3], "thought_open"),
        ([1, 5, 1, 5, 2, 2, 6, 3], "thought_again"),
        ([1, 5, 2, 6, 1, 5, 2, 3], "thought_again"),
        ([1, 2, 6, 3], "thought_empty"),
        ([1, 4, 2, 6, 3], "thought_empty"),
        ([1, 5, 6, 2, 3], "answer_empty"),
        ([1, 5, 2, 4, 3], "answer_empty"),
        ([1, 5, 2, 6], "unfinished"),
        ([1, 5, 2, 6, 7, 3], "structure"),
        ([1, 7, 5, 2, 6, 3], "structure"),
    ],
)
def test_form(ids: list[int], fault: str) -> None:
    written = read_written(ids, MARKS, spell)
    assert written.fault == fault
    assert (written.answer == "yes") == (fault == "")


@pytest.mark.parametrize("fault", ["no_thought", "thought_again", "answer_empty", "structure"])
def test_nothing_is_earned_where_the_form_is_broken(fault: str) -> None:
    written = Written("", "Fat is seen in [R1][R2].", (5,), 4, fault)  # type: ignore[arg-type]
    assert set(score(written, WHERE, RewardConfig()).values()) == {0.0}


def test_a_refusal_may_open_with_its_piece() -> None:
    words = {**WORDS, 6: "<|cannot|>", 8: "Cannot."}
    written = read_written([1, 5, 2, 6, 8, 3], MARKS, lambda ids: "".join(words[i] for i in ids))
    assert written.fault == "" and written.answer == "<|cannot|>Cannot."


def thought_of(num: int, num_answer: int = 5) -> Written:
    return Written("fat", "yes", tuple(range(10, 10 + num)), num_answer, "")


def test_length() -> None:
    config = RewardConfig(min_thought=10, max_thought=100, max_answer=20)
    assert fitting(thought_of(10), config) == fitting(thought_of(100), config) == 1
    assert fitting(thought_of(5), config) == pytest.approx(0.5)
    assert fitting(thought_of(150), config) == pytest.approx(0.5)
    assert fitting(thought_of(200), config) == fitting(thought_of(5000), config) == 0
    assert fitting(thought_of(50, num_answer=30), config) == pytest.approx(0.5)


def test_going_round_in_circles_earns_next_to_nothing() -> None:
    assert fluency(range(300)) == 1
    assert fluency([5] * 300) == pytest.approx(1 / 289)
    assert fluency([5, 6, 7] * 100) == pytest.approx(3 / 289)
    circling = Written("fat", "yes", (5, 6) * 100, 4, "")
    assert fitting(circling, RewardConfig()) < 0.05


def test_huge_texts_are_scored_in_no_time_and_earn_nothing() -> None:
    start = time.perf_counter()
    huge = Written("fat", "[R1]" * 200_000, tuple(range(200_000)), 200_000, "")
    earned = score(huge, WHERE, RewardConfig())
    assert earned["length"] == 0 and earned["cited"] < 0.01 and earned["right"] == 0
    assert time.perf_counter() - start < 10


def test_a_perfect_completion_earns_everything() -> None:
    written = Written("Fat lies left.", WHERE.answer, tuple(range(20)), 9, "")
    assert score(written, WHERE, RewardConfig()) == dict.fromkeys(NAMES, 1.0)


def option_truth() -> Truth:
    asked = Turn(role="user", text="Which?", options=("Grade 1", "Grade 10", "grade 2"))
    said = Turn(role="assistant", text="Grade 1", choice=1)
    return Truth.of_turn(asked, said, "option", (1.0, 1.0))


@pytest.mark.parametrize(
    ("answer", "earned"),
    [("grade 1", 1), ("Grade 1.", 1), ("Grade 10", 0), ("Grade 2, not grade 1", 0), ("", 0)],
)
def test_options_of_a_dialogue_file(answer: str, earned: float) -> None:
    assert right(option_truth(), answer) == earned


@pytest.mark.parametrize(
    ("said", "answer", "earned"),
    [
        ("Yes.", "Yes, it is.", 1),
        ("Yes.", "It is not known. Yes.", 1),
        ("no", "No.", 1),
        ("no", "None the less yes", 0),
        ("是", "是的。", 1),
        ("否", "是。", 0),
    ],
)
def test_yes_and_no_of_a_dialogue_file(said: str, answer: str, earned: float) -> None:
    asked = Turn(role="user", text="Is it?")
    truth = Truth.of_turn(asked, Turn(role="assistant", text=said), "polar", ())
    assert right(truth, answer) == earned


def test_citations_of_a_dialogue_file_are_its_truth() -> None:
    asked, said = Turn(role="user", text="Where?"), Turn(role="assistant", text="In [R2].")
    truth = Truth.of_turn(asked, said, "regions", (1.0, 1.0, 1.0))
    assert cited(truth, "In [R2].") == 1 and cited(truth, "In [R1].") == 0
    assert right(truth, "In [R2].") == 1
