"""Our format: what it takes, what it refuses and where."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ruichat.truth.datasets.dialogue import Dialogue, cited_numbers, labels, pose
from ruichat.truth.datasets.finding import wrongs_of


def record(**changes: Any) -> dict[str, Any]:
    value: dict[str, Any] = {
        "format": "ruichat-dialogue-1",
        "id": "a",
        "slides": ["s1"],
        "num_regions": 8,
        "turns": [
            {"role": "user", "text": "Is there tumour in [R2]?"},
            {"role": "assistant", "text": "Yes [R2][R8].", "thought": "[R2] is dark."},
        ],
    }
    return {k: v for k, v in (value | changes).items() if v is not ...}


def turns(*said: dict[str, Any]) -> dict[str, Any]:
    return record(turns=list(said))


USER = {"role": "user", "text": "Which?", "options": ["one", "two"]}
TWO = {"role": "assistant", "text": "two", "choice": 2}

BROKEN: list[tuple[dict[str, Any], str, str]] = [
    (record(num_regions=7), "no_such_region", "turns.1.text"),
    (record(num_regions=...), "no_such_region", "turns.0.text"),
    (record(num_regions=65), "wrong_value", "num_regions"),
    (
        record(num_regions=..., regions=[{"x": 0, "y": 0, "width": 9, "height": 9}]),
        "no_such_region",
        "turns.0.text",
    ),
    (
        record(regions=[{"x": 0, "y": 0, "width": 9, "height": 9}]),
        "regions_twice",
        "num_regions",
    ),
    (
        record(num_regions=..., regions=[{"slide": 1, "x": 0, "y": 0, "width": 9, "height": 9}]),
        "no_such_slide",
        "regions.0.slide",
    ),
    (
        record(num_regions=..., regions=[{"x": "0", "y": 0, "width": 9, "height": 9}]),
        "not_a_number",
        "regions.0.x",
    ),
    (record(slides=[]), "no_subject", "slides"),
    (record(slides=["a", "a"]), "twice", "slides"),
    (record(slides=["a"], tiles=["x.png"]), "two_subjects", "tiles"),
    (record(slides=["../etc/passwd"]), "path_in_name", "slides.0"),
    (record(tiles=["../x.png"]), "path_outside", "tiles.0"),
    (record(tiles=["C:\\x.png"]), "path_outside", "tiles.0"),
    (record(turns=[]), "empty_list", "turns"),
    (record(format="ruichat-dialogue-2"), "unknown_value", "format"),
    (record(patien="x"), "unknown_field", "patien"),
    (turns({"role": "system", "text": "a"}, TWO), "unknown_value", "turns.0.role"),
    (turns(TWO, USER), "wrong_order", "turns.0.role"),
    (turns(USER, TWO, USER), "no_answer", "turns"),
    (turns(USER, {**TWO, "choice": None}), "no_choice", "turns.1.choice"),
    (turns(USER, {**TWO, "choice": 3}), "no_such_option", "turns.1.choice"),
    (turns(USER, {**TWO, "choice": 1}), "answer_not_option", "turns.1.text"),
    (turns({**USER, "options": []}, TWO), "misplaced", "turns.1.choice"),
    (turns({**USER, "options": ["one"]}, TWO), "one_option", "turns.0.options"),
    (turns({**USER, "options": ["two", "two "]}, TWO), "twice", "turns.0.options"),
    (turns({**USER, "choice": 1}, TWO), "misplaced", "turns.0.choice"),
    (turns(USER, {**TWO, "text": "a\x00b"}), "control_character", "turns.1.text"),
    (turns(USER, {**TWO, "text": " \n "}), "empty_text", "turns.1.text"),
    (turns(USER, {**TWO, "text": "\udcff"}), "bad_text", "turns.1.text"),
    (turns(USER, {**TWO, "text": "x" * 1_000_000}), "too_long", "turns.1.text"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "code", "field"), BROKEN)
def test_what_breaks_a_rule_is_named(value: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Dialogue.model_validate(value)
    wrongs = {(wrong.code, wrong.field): wrong for wrong in wrongs_of(caught.value)}
    assert (code, field) in wrongs
    wrong = wrongs[code, field]
    assert wrong.remedy and len(wrong.message) < 300


def test_a_line_says_the_same_again() -> None:
    dialogue = Dialogue.model_validate(turns(USER, TWO) | {"tags": {"organ": "肺"}})
    line = dialogue.to_line()
    assert line.endswith(b"}\n") and line.count(b"\n") == 1
    assert next(iter(json.loads(line))) == "format"
    assert Dialogue.model_validate(json.loads(line)) == dialogue
    assert dialogue.closed and not Dialogue.model_validate(record()).closed


@given(k=st.integers(1, 64), number=st.integers(0, 10**9 - 1))
def test_a_region_can_be_cited_if_the_slide_has_it(k: int, number: int) -> None:
    said = {"role": "assistant", "text": f"There [R{number}]."}
    value = record(num_regions=k, turns=[{"role": "user", "text": "Where?"}, said])
    if 1 <= number <= k:
        assert list(cited_numbers(Dialogue.model_validate(value).turns[1].text)) == [number]
    else:
        with pytest.raises(ValidationError, match=rf"\[R{number}\]"):
            Dialogue.model_validate(value)


def test_options_are_listed_in_any_order() -> None:
    assert pose("Which?", ()) == "Which?"
    assert pose("Which?", ("one", "two")) == "Which? A. one B. two"
    assert pose("Which?", ("one", "two"), [1, 0]) == "Which? A. two B. one"
    assert labels(26)[-1] == "Z" and labels(30)[-1] == "30"
