"""One answer from a scripted model: guarded, checked, weighed."""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from typing import Any

import pytest
from fakes_chat import PLAIN, SURE, ScriptedSession, make_view, scripted

from ruichat.chat.answer import Answer, Thought
from ruichat.chat.ask import AskConfig
from ruichat.chat.facts import facts_prompt
from ruichat.chat.reply import answer_question
from ruichat.chat.view import SlideView
from ruichat.errors import InputError
from ruichat.model.chat_model import Piece


def ask(
    question: str,
    session: ScriptedSession,
    view: SlideView | None = None,
    config: AskConfig | None = None,
) -> tuple[Answer, list[str]]:
    events = list(
        answer_question(
            question, view or make_view(), session, config=config or AskConfig(), opening_s={}
        )
    )
    answer = events.pop()
    assert isinstance(answer, Answer)
    words = [event for event in events if isinstance(event, str)]
    assert "".join(words) == answer.text
    return answer, words


def test_a_sure_answer_is_definite_and_cites_boxes() -> None:
    view = make_view()
    answer, _ = ask("Is there tumour?", scripted("Yes, carcinoma nests in [R1][R2]."), view)
    assert answer.text == "Yes, carcinoma nests in [R1][R2]."
    assert (answer.diagnosis_class, answer.abstained, answer.reason) == ("I", False, None)
    assert [c.name for c in answer.citations] == ["R1", "R2"]
    assert answer.citations[0].box0 == view.regions.boxes[0]
    assert answer.citations[0].classes[0].key == "carcinoma_nests"
    assert answer.claims[0].grounded
    assert answer.confidence is not None and answer.confidence > 0.9


def test_a_thought_is_neither_shown_nor_weighed() -> None:
    class Thinker(ScriptedSession):
        def stream(self, question: str, **options: Any) -> Generator[Piece, None, None]:
            yield Piece("", 6000, math.log(0.9), thought=True)
            yield Piece("perhaps [R9] {focus}?", 80, math.log(0.1), thought=True)
            yield Piece("", 6001, math.log(0.2), thought=True)
            yield from super().stream(question, **options)

    def words(_: str) -> str:
        return "Yes, carcinoma nests in [R1][R2]."

    thinking, _ = ask("Is there tumour?", Thinker(words))
    plain, _ = ask("Is there tumour?", ScriptedSession(words))
    assert (thinking.text, thinking.confidence) == (plain.text, plain.confidence)
    assert thinking.claims == plain.claims and not thinking.errors


def thinker(words: str, *, logprob: float = SURE) -> ScriptedSession:
    thought = "I look at [R9] and [R3]. The focus is {focus}."
    return ScriptedSession(lambda _: words, logprob, thought=thought)


def test_a_thought_is_shown_at_will_and_kept_apart() -> None:
    session = thinker("Yes, carcinoma nests in [R1][R2].")
    config = AskConfig(think=True, show_thinking=True)
    events = list(
        answer_question("Is there tumour?", make_view(), session, config=config, opening_s={})
    )
    assert events[0] == Thought("I look at and [R3]. The focus is good.")
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert answer.thought == "I look at and [R3]. The focus is good."
    assert answer.text == "Yes, carcinoma nests in [R1][R2]."
    assert [citation.name for citation in answer.citations] == ["R1", "R2"]
    assert not answer.errors and len(answer.claims) == 1
    assert answer.to_json()["thought"] == answer.thought


def test_a_thought_is_hidden_unless_asked_for() -> None:
    answer, words = ask("Tumour?", thinker("Yes [R1]."), config=AskConfig(think=True))
    assert answer.thought.startswith("I look at") and "look" not in "".join(words)
    session = thinker("Yes [R1].")
    answer, _ = ask("Tumour?", session)
    assert answer.thought == "" and session.thinks == [False]


def test_the_thought_of_a_withheld_answer_is_withheld() -> None:
    session = thinker("Yes, fat in [R1]. It is everywhere.", logprob=math.log(0.4))
    config = AskConfig(think=True, show_thinking=True)
    answer, words = ask("Is there fat?", session, config=config)
    assert answer.reason == "low_confidence" and answer.thought == ""
    assert all(isinstance(word, str) for word in words)


@pytest.mark.parametrize(
    ("probability", "expected", "begins"),
    [(0.97, "I", "Yes"), (0.8, "II", "Favour: Yes"), (0.65, "III", "Description only")],
)
def test_confidence_decides_the_class_and_its_words(
    probability: float, expected: str, begins: str
) -> None:
    session = scripted("Yes [R1].", logprob=math.log(probability))
    answer, _ = ask("Is there tumour?", session)
    assert answer.diagnosis_class == expected
    assert answer.text.startswith(begins)
    assert bool(answer.alternatives) == (expected != "I")


def test_chinese_answers_are_qualified_in_chinese() -> None:
    answer, _ = ask("有肿瘤吗？", scripted("有[R1]。", logprob=math.log(0.8)))
    assert answer.text == "考虑：有[R1]。"
    assert answer.language == "zh"


def test_a_guess_is_not_shown() -> None:
    session = scripted("Yes, fat in [R1]. It is everywhere.", logprob=math.log(0.4))
    answer, words = ask("Is there fat?", session)
    assert answer.text.startswith("Cannot determine: confidence is only 40%")
    assert (answer.diagnosis_class, answer.abstained) == ("IV", True)
    assert answer.reason == "low_confidence"
    assert answer.claims == () and answer.citations == ()
    assert answer.alternatives[0].key == "stroma", "of the slide: R1, which isn't shown, is nests"
    assert "Yes" not in "".join(words)
    assert session.counts["cut"] == 1


@pytest.mark.parametrize(
    ("question", "words", "caveat"),
    [
        ("Is there metastasis?", "No lymph node metastasis is seen [R1].", "No lymph node is rec"),
        ("有转移吗？", "未见淋巴结转移癌 [R1]。", "未识别出淋巴结"),
        ("Is there fat?", "No fat is seen [R1].", ""),
    ],
)
def test_a_slide_without_a_node_says_nothing_about_nodes(
    question: str, words: str, caveat: str
) -> None:
    answer, _ = ask(question, scripted(words))
    assert caveat in answer.text and len(answer.text) >= len(words) + len(caveat)
    assert caveat or "lymph node" not in answer.text


def test_words_stream_once_the_first_sentence_is_whole() -> None:
    _, words = ask("Describe it.", scripted("Nests [R1]. Then fat in [R3] and stroma in [R4]."))
    assert len(words) > 5
    assert words[0] == "" or words[0].startswith("Nests [R1].") or words[1].startswith("Nests")


def test_an_unknown_citation_is_removed_and_recorded() -> None:
    answer, words = ask("Where?", scripted("Nests in [R1] [R9]. More in [R77]."))
    assert answer.text == "Nests in [R1]. More in."
    assert [c.name for c in answer.citations] == ["R1"]
    assert len(answer.errors) == 2 and "[R9]" in answer.errors[0]
    assert [claim.grounded for claim in answer.claims] == [True, False]
    assert not any("R9" in word or "R77" in word for word in words)


def test_a_citation_spelled_in_letters_is_checked_too() -> None:
    class Spelled(ScriptedSession):
        def stream(self, question: str, **_: Any):  # type: ignore[no-untyped-def]
            for character in self.answer(question):
                yield Piece(character, 10_000, -0.001)

    answer, words = ask("Where?", Spelled(lambda _: "Yes. Nests in [R99] and {nonsense} [R2]."))
    assert answer.text == "Yes. Nests in and  [R2]."
    assert "[R99]" not in "".join(words)


def test_facts_are_filled_in_and_ground_a_claim() -> None:
    session = scripted("Tumour makes up {tumour_percent} of {tissue_mm2}.")
    answer, _ = ask("How much tumour?", session)
    assert answer.text == "Tumour makes up 33% of 0.24 mm²."
    assert answer.claims[0].facts == ("tumour_percent", "tissue_mm2")
    assert answer.claims[0].grounded


@pytest.mark.parametrize(
    "text", ["<|cannot|> This is about something else.", "Cannot determine that."]
)
def test_the_model_may_abstain(text: str) -> None:
    answer, _ = ask("What is the weather on this slide?", scripted(text))
    assert (answer.abstained, answer.reason, answer.diagnosis_class) == (True, "model", "IV")
    assert "<|" not in answer.text
    assert answer.claims == ()
    assert answer.text == answer.text.strip()


def test_an_empty_answer_is_an_abstention() -> None:
    answer, _ = ask("Is there tumour?", scripted("<|cannot|>"))
    assert answer.abstained
    assert answer.text == "Cannot determine: the model gave no answer to this question."


def test_the_guard_speaks_without_the_model() -> None:
    session = scripted("HER2 is positive [R1].")
    answer, _ = ask("Is HER2 positive?", session)
    assert session.asked == []
    assert (answer.reason, answer.diagnosis_class, answer.abstained) == ("ihc", "IV", True)
    assert "Immunohistochemistry" in answer.text and "HER2" in answer.text


def test_a_mixed_question_is_answered_in_part() -> None:
    session = scripted("Yes, nests in [R1].")
    answer, _ = ask("Is there tumour, and is it HER2 positive?", session)
    assert session.asked == ["Is there tumour?"]
    assert answer.text.startswith("Yes, nests in [R1]. Cannot determine (HER2):")
    assert (answer.abstained, answer.reason) == (False, "ihc")
    assert len(answer.claims) == 1


def test_a_region_that_does_not_exist_is_said_to() -> None:
    session = scripted("Fat.")
    answer, _ = ask("What is in R9?", session)
    assert session.asked == []
    assert answer.reason == "no_such_region"
    assert "R1 to R6" in answer.text


def test_unknown_tissue_is_not_interpreted_but_measured() -> None:
    session = scripted("Yes [R1].")
    answer, _ = ask("Is there tumour?", session, make_view(known_fraction=0.2))
    assert session.asked == []
    assert answer.reason == "unknown_tissue"
    assert "20%" in answer.text and "0.24 mm²" in answer.text


def test_without_calibration_nothing_is_definite() -> None:
    answer, _ = ask("Is there tumour?", scripted("Yes [R1]."), make_view(calibration=None))
    assert (answer.confidence, answer.diagnosis_class) == (None, "III")
    assert any("calibration" in warning for warning in answer.warnings)


def test_template_syntax_in_a_question_stays_text() -> None:
    session = scripted("Yes [R1].")
    question = "Is there {{ 7*7 }} {tissue_mm2} %s tumour?"
    answer, _ = ask(question, session)
    assert session.asked == [question]
    assert answer.question == question


def test_closing_an_answer_early_stops_the_model() -> None:
    session = scripted("Yes [R1]. " + "More words follow here. " * 20)
    events = answer_question(
        "Is there tumour?", make_view(), session, config=AskConfig(), opening_s={}
    )
    next(events)
    next(events)
    events.close()
    assert session.counts["cut"] == 1
    assert session.counts["pieces"] < 20


def test_too_long_a_question_never_reaches_the_model() -> None:
    session = scripted("Yes.")
    with pytest.raises(InputError):
        ask("a" * 100_000, session)
    assert session.asked == []


def test_the_answer_object_is_plain_json() -> None:
    answer, _ = ask("有肿瘤吗？", scripted("有[R1]。"), make_view(calibration=PLAIN))
    data = json.loads(json.dumps(answer.to_json(), ensure_ascii=False))
    assert data["schema"] == "ruichat.answer/1"
    assert data["citations"][0]["box0"].keys() == {"x", "y", "width", "height"}
    assert data["diagnosis_class"] == "I"
    assert "AI生成" in data["label"]
    assert data["facts"]["tissue_mm2"] == 0.24
    assert data["prompt_version"] == facts_prompt().label


def test_an_explanation_has_no_class_and_makes_no_claim() -> None:
    answer, _ = ask("What does metastasis mean?", scripted("Tumour that has spread [R1]."))
    assert (answer.diagnosis_class, answer.claims, answer.abstained) == (None, (), False)
    assert answer.text == "Tumour that has spread [R1]."
