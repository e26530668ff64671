"""The controls tell a model that looks from one that doesn't."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from fakes import MeanColourEncoder
from fakes_chat import ScriptedModel
from fakes_evaluate import (
    NUM_CLASSES,
    ReadsOneHot,
    Scripted,
    by_question,
    guesser,
    one_hot_bank,
    oracle,
)

from ruichat.chat.backend import Backend
from ruichat.evaluate.config import SlideSuite
from ruichat.evaluate.controls import (
    ColourReader,
    Shown,
    pair_slides,
    show_blind,
    show_permuted,
    show_true,
)
from ruichat.evaluate.questions import Asked, draw_questions
from ruichat.evaluate.report import Row
from ruichat.evaluate.slide_run import answer_conditions, ask_slides
from ruichat.evaluate.slide_scores import CITATIONS, DIFFERENCES, QUESTIONS, REFUSALS
from ruichat.evaluate.slides import TestSlide, lay_slides
from ruichat.evaluate.tile_scores import Draws
from ruichat.truth.dialogues import QA
from ruichat.truth.symbolic import SymbolicConfig

Words = Callable[[Shown, QA], str]
RowsOf = Callable[[Words], dict[tuple[str, str], Row]]


@pytest.fixture(scope="module")
def rows_of(asked: list[Asked], slides: list[TestSlide], suite: SlideSuite) -> RowsOf:
    """The table of a model that says given words."""

    @functools.cache
    def run(words: Words) -> dict[tuple[str, str], Row]:
        answerer = Scripted(words, by_question(asked))
        model = ScriptedModel(lambda question: "")
        backend = Backend("scripted", MeanColourEncoder(), ReadsOneHot(), model, None, 32)
        quick = suite.model_copy(update={"num_checked": 0})
        result = ask_slides(
            asked, slides, answerer, backend, quick, Draws(50, 0), lambda _: lambda a, b: None, None
        )
        return {(row.section, row.name): row for row in result.rows}

    return run


def test_a_model_that_looks_is_right_and_its_controls_are_not(rows_of: RowsOf) -> None:
    row = rows_of(oracle)[QUESTIONS, "all kinds"]
    assert row.score.value == 1
    assert row.controls["reordered"].value == 1
    assert row.controls["rules"].value == 1
    assert row.controls["blind"].value < 0.65
    assert row.controls["other"].value < 0.65
    content = rows_of(oracle)[QUESTIONS, "content, en"]
    assert content.controls["permuted"].value < 0.6
    assert rows_of(oracle)[DIFFERENCES, "true slide minus blind"].score.value > 0.35


def test_without_a_classifier_there_is_no_control_by_its_rules(
    asked: list[Asked], slides: list[TestSlide], suite: SlideSuite
) -> None:
    few = asked[:60]
    answerer = Scripted(oracle, by_question(few))
    model = ScriptedModel(lambda question: "")
    backend = Backend("scripted", MeanColourEncoder(), None, model, None, 32)
    quick = suite.model_copy(update={"num_checked": 0})
    result = ask_slides(
        few, slides, answerer, backend, quick, Draws(10, 0), lambda _: lambda a, b: None, None
    )
    row = next(r for r in result.rows if (r.section, r.name) == (QUESTIONS, "all kinds"))
    assert row.score.value == 1
    assert "rules" not in row.controls and "blind" in row.controls


def test_its_citations_fall_to_chance_when_contents_are_permuted(rows_of: RowsOf) -> None:
    for measure in ("precision", "recall"):
        row = rows_of(oracle)[CITATIONS, f"where it is: {measure}"]
        assert row.score.value == 1
        gap = row.controls["permuted"].value - row.controls["permuted_chance"].value
        assert abs(gap) < 0.15
        assert row.controls["permuted"].value < 0.75


def test_a_model_that_never_looks_scores_alike_whatever_it_is_shown(rows_of: RowsOf) -> None:
    rows = rows_of(guesser)
    row = rows[QUESTIONS, "all kinds"]
    for name in ("blind", "other", "permuted"):
        assert row.controls[name].value == row.score.value
        assert rows[DIFFERENCES, f"true slide minus {name}"].score.value == 0
    assert row.score.value < 0.6
    assert rows[REFUSALS, "cannot be told: model alone"].score.value == 0


def test_the_guard_refuses_where_the_model_does_not(rows_of: RowsOf) -> None:
    rows = rows_of(guesser)
    guarded = rows[REFUSALS, "cannot be told: product, with guard"].score
    assert guarded.value > rows[REFUSALS, "cannot be told: model alone"].score.value
    assert rows[REFUSALS, "can be told: model alone"].score.value == 0


def test_every_slide_gets_another_with_as_many_regions(slides: list[TestSlide]) -> None:
    pairs = pair_slides(slides, seed=0)
    most = max(len(slide.regions) for slide in slides)
    by_number = {slide.number: slide for slide in slides}
    assert set(pairs) == set(by_number)
    for number, other in pairs.items():
        assert other.number != number
        k = len(by_number[number].regions)
        assert len(other.regions) >= k or k == most
    assert pair_slides(slides[:1], seed=0) == {}


def test_permuting_moves_contents_and_keeps_places(slides: list[TestSlide]) -> None:
    slide = max(slides, key=lambda s: len(s.regions))
    shown, moved = show_true(slide), show_permuted(slide, seed=0)
    assert np.array_equal(shown.embeddings, moved.embeddings)
    assert np.array_equal(shown.regions.geometry, moved.regions.geometry)
    assert (shown.regions.assignment != moved.regions.assignment).any()
    before = sorted(np.bincount(shown.regions.assignment))
    assert sorted(np.bincount(moved.regions.assignment)) == before
    again = show_permuted(slide, seed=0)
    assert np.array_equal(again.regions.assignment, moved.regions.assignment)
    assert show_blind(slide).facts == "" and show_blind(slide).blind


def test_every_permuted_region_takes_another_ones_tiles(slides: list[TestSlide]) -> None:
    for seed in range(5):
        for slide in (slide for slide in slides if len(slide.regions) > 1):
            moved = show_permuted(slide, seed=seed).regions
            assert (moved.assignment != slide.regions.assignment).all()


def test_a_slide_of_one_region_is_never_permuted(suite: SlideSuite) -> None:
    small = suite.model_copy(update={"num_laid": 4, "layout": SymbolicConfig(max_regions=1)})
    slides = lay_slides(one_hot_bank(), small, ReadsOneHot(), seed=0)
    asked = draw_questions(slides, small, seed=0)
    answerer = Scripted(oracle, by_question(asked))
    written = answer_conditions(asked, slides, answerer, small, 0, lambda _: lambda a, b: None)
    assert all(written["true"]) and not any(written["permuted"])


def test_colour_reader_reads_colour() -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    target = np.repeat(np.arange(3), 40) * 5
    colour = rng.normal(0, 0.1, (120, 12)).astype(np.float32)
    colour[np.arange(120), target // 5] += 1
    reader = ColourReader(colour, target)
    assert (reader.classes(colour) == target).all()
    assert set(reader.classes(colour)) <= set(range(NUM_CLASSES))
