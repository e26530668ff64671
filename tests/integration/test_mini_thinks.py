"""mini thinks before it answers where it is asked to, and answers at once as it did."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ruichat.chat.answer import Answer
from ruichat.chat.ask import AskConfig, SlideChat, open_chat
from ruichat.cli import main as cli

NAMED = re.compile(r"\[R\d+\]")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlideChat]:
    """A drawn slide that holds fat, on a seed that no stage has seen."""
    top = tmp_path_factory.mktemp("thinks")
    slide = top / "slide.tif"
    size = ["--width", "1792", "--height", "1344", "--seed", "100300"]
    assert cli.run(["phantom", "draw", str(slide), *size]) == 0
    with open_chat(slide, AskConfig(show_thinking=True), cache=top / "cache") as chat:
        yield chat


def ask(chat: SlideChat, question: str, *, think: bool) -> Answer:
    chat.let_think(think, show=think)
    answer = list(chat.ask(question))[-1]
    assert isinstance(answer, Answer)
    return answer


def test_it_has_all_that_thinking_needs(chat: SlideChat) -> None:
    backend = chat.read.backend
    assert backend.thinks and backend.thinking_calibration is not None


@pytest.mark.parametrize(
    ("question", "tissue", "language"),
    [("Where is the fat?", "fat", "en"), ("哪里有脂肪组织？", "脂肪", "zh")],
)
def test_a_thought_looks_for_what_is_asked(
    chat: SlideChat, question: str, tissue: str, language: str
) -> None:
    thought = ask(chat, question, think=True)
    assert tissue in thought.thought and NAMED.search(thought.thought)
    assert thought.language == language and thought.citations
    at_once = ask(chat, question, think=False)
    assert at_once.thought == ""
    cited = [{each.name for each in answer.citations} for answer in (thought, at_once)]
    assert cited[0] & cited[1], "both see the fat"
