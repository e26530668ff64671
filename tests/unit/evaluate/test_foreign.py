from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes_chat import make_backend, write_two_halves

from ruichat.errors import InputError
from ruichat.evaluate.foreign import (
    Item,
    is_right,
    read_items,
    score_questions,
)
from ruichat.evaluate.tile_scores import Draws

DRAWS = Draws(50, 0)
OPTIONS = ("squamous carcinoma", "carcinoma", "lymphoma")


def quiet(stage: str):
    return lambda done, total: None


def test_options_that_differ_in_signs_alone_are_told_apart() -> None:
    item = Item(slide="s", question="?", answer="HER2-", options=("HER2+", "HER2-"))
    assert item.right_option == 1 and item.right_words == "HER2-"
    assert item.model_copy(update={"answer": "her2+"}).right_option == 0


def test_letters_follow_the_order_in_which_options_were_listed() -> None:
    item = Item(slide="s", question="Which?", answer="B", options=OPTIONS)
    assert item.right_option == 1
    assert item.posed((1, 2, 0)).endswith("A. carcinoma B. lymphoma C. squamous carcinoma")


@pytest.mark.parametrize(
    ("answer", "text", "right"),
    [
        ("yes", "Yes, there is tumour [R1].", True),
        ("no", "No tumour is seen.", True),
        ("yes", "No tumour is seen.", False),
        ("有", "有肿瘤 [R1]。", True),
        ("否", "未见肿瘤。", True),
        ("yes", "Nothing to see.", False),
        ("fat", "The tissue is mainly fat [R2].", True),
        ("fat", "The tissue is stroma.", False),
    ],
)
def test_answers_without_options(answer: str, text: str, right: bool) -> None:
    assert is_right(Item(slide="s", question="?", answer=answer), text, ()) is right


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("not json", "line 2"),
        ('{"slide": "a.svs", "question": "?"}', "answer"),
        ('{"slide": "a", "question": "?", "answer": "x", "options": ["y", "z"]}', "none of the"),
        ('{"slide": "a", "question": "?", "answer": "x", "colour": 1}', "colour"),
        ('{"slide": "a", "question": "?", "answer": "?!"}', "neither letters nor digits"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(f'{{"slide": "a", "question": "?", "answer": "yes"}}\n{line}\n')
    with pytest.raises(InputError, match=words):
        read_items(path)


def test_no_questions_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no questions"):
        read_items(tmp_path / "q.jsonl")
    with pytest.raises(InputError, match="can't be read"):
        read_items(tmp_path / "missing.jsonl")


def test_own_slides_are_asked_through_the_chat(tmp_path: Path) -> None:
    for name in ("one.tif", "two.tif"):
        write_two_halves(tmp_path / name)
    dark = {"x": 0, "y": 0, "width": 900, "height": 900}
    lines = [
        {"slide": "one.tif", "question": "Is there tumour?", "answer": "yes", "regions": [dark]},
        {"slide": "two.tif", "question": "Is there fat?", "answer": "no"},
        {
            "slide": "two.tif",
            "question": "Which tissue?",
            "answer": "stroma",
            "options": ["fat", "stroma"],
        },
        {"slide": "missing.tif", "question": "Is there fat?", "answer": "no"},
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    skipped: list[str] = []
    backend = make_backend("Yes, there is tumour: carcinoma nests [R1].")
    rows = score_questions(path, backend, DRAWS, quiet, skipped)
    score = {row.name: row for row in rows}
    assert score["answered rightly, all"].score.n == 3
    assert score["answered rightly, yes or no"].score.value == 0.5
    assert score["answered rightly, with options"].score.value == 0
    assert score["answered rightly, with options"].controls["reordered"].n == 1
    assert score["answered rightly, all"].controls["other"].n == 3
    assert 0 < score["cited area that is true"].score.value <= 1
    assert len(skipped) == 1 and "missing.tif" in skipped[0]


def write_questions(folder: Path, *lines: dict[str, object]) -> Path:
    """Questions about one slide of two halves."""
    write_two_halves(folder / "one.tif")
    path = folder / "q.jsonl"
    path.write_text("\n".join(json.dumps({"slide": "one.tif", **line}) for line in lines))
    return path


def test_what_stays_open_is_not_right_for_naming_what_it_might_be(tmp_path: Path) -> None:
    path = write_questions(
        tmp_path,
        {"question": "Which tissue?", "answer": "stroma"},
        {"question": "Which tissue?", "answer": "A", "options": ["stroma", "fat"]},
        {"question": "Which tissue?", "answer": "cannot determine"},
    )
    backend = make_backend("<|cannot|>Cannot determine whether this is stroma or fat.")
    score = {row.name: row.score for row in score_questions(path, backend, DRAWS, quiet, [])}
    assert score["cannot determine"].value == 1
    assert score["answered rightly, with options"].value == 0
    assert score["answered rightly, in words"].value == 0.5


def test_a_question_that_cannot_be_asked_is_left_out_alone(tmp_path: Path) -> None:
    asked = {"question": "Is there tumour?", "answer": "yes"}
    long = {"question": "Why? " * 1000, "answer": "yes"}
    path = write_questions(tmp_path, asked, long, asked)
    skipped: list[str] = []
    rows = score_questions(path, make_backend("Yes."), DRAWS, quiet, skipped)
    assert {row.name: row.score.n for row in rows}["answered rightly, all"] == 2
    assert len(skipped) == 1 and "one.tif, question 2: the question has" in skipped[0]


def test_no_question_that_can_be_asked_is_an_error(tmp_path: Path) -> None:
    path = write_questions(tmp_path, {"question": "Why? " * 1000, "answer": "yes"})
    with pytest.raises(InputError, match="could be asked"):
        score_questions(path, make_backend("Yes."), DRAWS, quiet, [])


def test_no_slide_that_opens_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"slide": "missing.tif", "question": "?", "answer": "no"}')
    with pytest.raises(InputError, match="none of the slides"):
        score_questions(path, make_backend("Yes."), DRAWS, quiet, [])
