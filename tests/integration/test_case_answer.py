"""Several slides, one question: each answers, and the rule that brings them together is stated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from fakes_chat import make_backend, write_two_halves

from ruichat.chat.ask import SlideChat, open_chat
from ruichat.chat.case_answer import MAX_SLIDES, CaseAnswer, NotAsked, ask_case
from ruichat.errors import InputError


@pytest.fixture(scope="module")
def slide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_halves(tmp_path_factory.mktemp("slides") / "halves.tif")


@contextmanager
def case(path: Path, *answers: str | Callable[[str], str]) -> Iterator[Mapping[str, SlideChat]]:
    """A case of as many slides as there are answers; all are of one file."""
    with ExitStack() as stack:
        yield {
            f"s{i}": stack.enter_context(open_chat(path, backend=make_backend(answer)))
            for i, answer in enumerate(answers)
        }


def ask(chats: Mapping[str, SlideChat | NotAsked], question: str) -> CaseAnswer:
    *words, answer = list(ask_case(chats, question))
    assert isinstance(answer, CaseAnswer)
    assert "".join(word for word in words if isinstance(word, str)) == answer.text
    return answer


def test_one_yes_is_a_yes_for_the_case(slide_path: Path) -> None:
    answers = ("No.", "Yes, carcinoma nests in [R1].", "<|cannot|>Cannot determine.")
    with case(slide_path, *answers) as chats:
        answer = ask(chats, "Is there tumour?")
    assert answer.rule == "any"
    assert answer.text == (
        "Slide A: No.\n\nSlide B: Yes, carcinoma nests in [B·R1].\n\n"
        "Slide C: Cannot determine.\n\n"
        "Rule: yes for the case if any slide says yes. The case: yes "
        "(yes: B; no: A; can't be determined: C)."
    )
    assert [part.slide for part in answer.parts] == ["s0", "s1", "s2"]
    assert answer.to_json()["slides"][1]["answer"]["citations"][0]["name"] == "R1"  # type: ignore[index]


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        (("No.", "No."), "The case: no (no: A, B)"),
        (("No.", "<|cannot|>Cannot determine."), "The case: open (no: A; can't be determined: B)"),
    ],
)
def test_an_open_slide_keeps_a_no_open(
    slide_path: Path, answers: tuple[str, ...], verdict: str
) -> None:
    with case(slide_path, *answers) as chats:
        assert verdict in ask(chats, "Is there tumour?").text


def test_what_is_no_question_of_presence_is_listed_slide_by_slide(slide_path: Path) -> None:
    with case(slide_path, "Mostly stroma [R1].", "Mostly fat [R2].") as chats:
        answer = ask(chats, "What is the main tissue?")
        assert answer.rule == "each"
        assert answer.text.endswith("nothing was added up over the slides.")
        zh = ask(chats, "主要是什么组织？")
        assert zh.text.startswith("切片A：") and zh.text.endswith("结果未合并。")


def test_no_abnormality_is_neither_yes_nor_no(slide_path: Path) -> None:
    with case(slide_path, "No abnormality.", "Not normal.") as chats:
        assert ask(chats, "Is there tumour?").rule == "each"


def test_a_region_with_its_letter_asks_that_slide_alone(slide_path: Path) -> None:
    heard: list[str] = []

    def answer(question: str) -> str:
        heard.append(question)
        return "Stroma [R2]."

    with case(slide_path, "Never asked.", answer) as chats:
        found = ask(chats, "What is in B·R2?")
        assert [part.letter for part in found.parts] == ["B"]
        assert heard == ["What is in R2?"] and "[B·R2]" in found.text
        with pytest.raises(InputError, match="no slide F"):
            ask(chats, "What is in F·R2?")


def test_too_many_slides_are_refused(slide_path: Path) -> None:
    with case(slide_path, "Yes.") as chats:
        (chat,) = chats.values()
        with pytest.raises(InputError, match="13 slides"):
            list(ask_case({str(i): chat for i in range(MAX_SLIDES + 1)}, "Is there tumour?"))


def test_slides_that_can_not_be_asked_are_named_with_the_reason(slide_path: Path) -> None:
    with case(slide_path, "No.", "No.") as chats:
        first, last = chats.values()
        asked: dict[str, SlideChat | NotAsked] = {
            "bare": "no_resolution",
            "a": first,
            "torn": "unreadable",
            "b": last,
            "beyond": "too_many",
            "far beyond": "too_many",
        }
        answer = ask(asked, "Is there tumour?")
        assert answer.text == (
            "Slide B: No.\n\nSlide D: No.\n\n"
            "Slides not asked: A (the file states no resolution); C (can't be read); E, F (one "
            "question is about 12 slides at most; ask about these one by one).\n\n"
            "Rule: yes for the case if any slide says yes. The case: open "
            "(no: B, D; not asked: A, C, E, F)."
        )
        assert answer.to_json()["left_out"][1] == {  # type: ignore[index]
            "letter": "C",
            "slide": "torn",
            "reason": "unreadable",
        }
        zh = ask(asked, "有肿瘤吗？").text
        assert "未提问的切片：A（文件未给出分辨率）；C（无法读取）；E、F（" in zh
        assert zh.endswith("全例：未定（否：B、D；未提问：A、C、E、F）。")
        alone = ask(asked, "What is in B·R1?")
        assert [part.letter for part in alone.parts] == ["B"] and not alone.left_out
        with pytest.raises(InputError, match=r"C \(can't be read\)"):
            ask(asked, "What is in C·R1?")
        one = ask({"gone": "gone", "a": first}, "Is there tumour?")
        assert one.rule == "any" and "The case: open (no: B; not asked: A)" in one.text
        with pytest.raises(InputError, match="about 0 slides"):
            ask({"a": "gone"}, "Is there tumour?")


def test_letters_go_on_after_z(slide_path: Path) -> None:
    with case(slide_path, "No.") as chats:
        many: dict[str, SlideChat | NotAsked] = dict.fromkeys(map(str, range(53)), "too_many")
        found = ask(many | {"0": chats["s0"]}, "Is there tumour?")
    letters = [one.letter for one in found.left_out]
    assert (letters[24], letters[25], letters[50], letters[51]) == ("Z", "AA", "AZ", "BA")
