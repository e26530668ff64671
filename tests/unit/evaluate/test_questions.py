from __future__ import annotations

from collections import Counter

import numpy as np

from ruichat.evaluate.config import SlideSuite
from ruichat.evaluate.questions import Asked, draw_questions, question_label, reorder_options
from ruichat.evaluate.slides import TestSlide
from ruichat.histology import BY_KEY


def test_questions_depend_on_the_seed_alone(
    slides: list[TestSlide], asked: list[Asked], suite: SlideSuite
) -> None:
    again = draw_questions(slides, suite, seed=0)
    assert [item.qa for item in again] == [item.qa for item in asked]
    other = draw_questions(slides, suite, seed=1)
    assert [item.qa for item in other] != [item.qa for item in asked]


def test_kinds_languages_and_wordings_are_spread(asked: list[Asked]) -> None:
    kinds = Counter(item.qa.kind for item in asked)
    assert min(kinds.values()) >= len(asked) / len(kinds) / 3
    for attribute in ("language", "split"):
        share = Counter(getattr(item.qa, attribute) for item in asked)
        assert max(share.values()) < 0.65 * len(asked)


def test_yes_and_no_are_balanced(asked: list[Asked]) -> None:
    keys = [item.qa.key for item in asked if item.qa.kind in ("presence", "where")]
    assert 0.3 < np.mean([key == "yes" for key in keys]) < 0.7


def test_every_listed_option_moves(asked: list[Asked]) -> None:
    moved = 0
    for item in asked:
        qa = reorder_options(item.qa)
        if question_label(item.qa) != "choice":
            assert qa is None
            continue
        assert qa is not None, item.qa.question
        moved += 1
        assert sorted(qa.question) == sorted(item.qa.question)
        assert qa.key == item.qa.key and set(qa.options) == set(item.qa.options)
        # Where a name follows another, the text after it begins with the other's next letter.
        places = [
            [q.question.rfind(BY_KEY[key].name(q.language)) for key in q.options]
            for q in (item.qa, qa)
        ]
        assert places[0] == sorted(places[0]) and places[1] == sorted(places[1])
        assert all(a != b for a, b in zip(item.qa.options, qa.options, strict=True))
        assert qa.read_key(item.qa.answer) == item.qa.key
    assert moved > 3
