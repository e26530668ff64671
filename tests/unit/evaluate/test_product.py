from __future__ import annotations

from dataclasses import replace

from fakes_chat import PLAIN
from fakes_evaluate import ReadsOneHot, Scripted, by_question, written

from ruichat.chat.answer import Answer
from ruichat.evaluate.controls import show_true
from ruichat.evaluate.product import product_answers, view_slide
from ruichat.evaluate.questions import Asked
from ruichat.evaluate.slides import TestSlide
from ruichat.truth.dialogues import QA


def ask(slides: list[TestSlide], item: Asked, answer: str, logprob: float = -0.001) -> Answer:
    answerer = Scripted(lambda shown, qa: answer, by_question([item]))
    answerer.questions["Is there tumour?"] = item.qa
    given = {(item.slide.number, "known"): written("unused")}
    views = {item.slide.number: view_slide(item.slide, ReadsOneHot(), "scripted", PLAIN)}
    key = (item.slide.number, item.qa.question)
    if not item.qa.question.startswith("Is there tumour,"):
        given[key] = written(answer, logprob)
    [result] = product_answers(
        [item],
        {item.slide.number: show_true(item.slide)},
        views,
        answerer,
        given,
        max_tokens=40,
    )
    return result


def question(slide: TestSlide, text: str) -> Asked:
    return Asked(slide, QA(text, "Yes.", "en", "presence", "yes", (0,), (0,), ("yes",), ("Yes",)))


def test_what_was_written_becomes_the_products_answer(slides: list[TestSlide]) -> None:
    answer = ask(slides, question(slides[0], "Is  there fat?"), "Yes, fat is seen [R1].")
    assert answer.text == "Yes, fat is seen [R1]."
    assert [c.name for c in answer.citations] == ["R1"]
    assert answer.confidence is not None and answer.confidence > 0.9 and not answer.abstained


def test_the_guard_answers_without_the_model(slides: list[TestSlide]) -> None:
    answer = ask(slides, question(slides[0], "Is HER2 positive?"), "Yes [R1].")
    assert answer.abstained and answer.reason == "ihc" and answer.confidence is None


def test_half_a_question_is_asked_anew(slides: list[TestSlide]) -> None:
    item = question(slides[0], "Is there tumour, and is HER2 positive?")
    answer = ask(slides, item, "Yes, there is tumour [R1].")
    assert answer.text.startswith("Yes, there is tumour [R1].")
    assert answer.reason == "ihc"


def test_an_unsure_answer_is_withheld(slides: list[TestSlide]) -> None:
    answer = ask(slides, question(slides[0], "Is there fat?"), "Yes, fat [R1].", logprob=-1.2)
    assert answer.abstained and answer.reason == "low_confidence"
    assert answer.confidence is not None and answer.confidence < 0.6


def test_views_hold_what_the_chat_would_know(slides: list[TestSlide]) -> None:
    slide = slides[0]
    view = view_slide(slide, ReadsOneHot(), "scripted", None)
    assert view.facts == replace(slide.facts)
    assert abs(view.region_classes - slide.truth.fractions).max() < 1e-5
