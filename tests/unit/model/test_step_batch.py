"""Dialogues whose steps are taken together write what each writes alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from ruichat.model.chat_model import Piece
from ruichat.model.checkpoint import load_mini
from ruichat.model.native import NativeChatModel, NativeSession
from ruichat.model.openvino_step import OpenVinoDecoder

QUESTIONS = (
    "What is the difference between a gland and a nest of tumour cells?",
    "Is there tumour?",
    "有坏死吗？在哪里？",
    "Describe the slide.",
    "What can you do?",
)


@pytest.fixture(scope="module")
def model() -> NativeChatModel:
    return load_mini(num_threads=1)


def write(session: NativeSession, question: str) -> list[Piece]:
    return list(session.stream(question, max_tokens=8))


def together(sessions: Sequence[NativeSession], questions: Sequence[str]) -> list[list[Piece]]:
    found: list[list[Piece]] = [[] for _ in sessions]
    start = threading.Barrier(len(sessions))

    def run(i: int) -> None:
        start.wait()
        found[i] = write(sessions[i], questions[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def same(one: list[Piece], other: list[Piece]) -> None:
    assert [piece.token_id for piece in one] == [piece.token_id for piece in other]
    logprobs = [[piece.logprob for piece in pieces] for pieces in (one, other)]
    np.testing.assert_allclose(*logprobs, atol=1e-3)


@pytest.mark.parametrize("num", [3, 9])
def test_together_as_alone_and_in_later_turns(
    model: NativeChatModel, num: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    step = OpenVinoDecoder._step_together
    monkeypatch.setattr(
        OpenVinoDecoder,
        "_step_together",
        lambda self, steps: taken.append(len(steps)) or step(self, steps),
    )
    questions = [QUESTIONS[i % len(QUESTIONS)] for i in range(num)]
    alone = [model.open(None) for _ in questions]
    sessions = [model.open(None) for _ in questions]
    for turn in (questions, questions[::-1]):
        wanted = [write(session, question) for session, question in zip(alone, turn, strict=True)]
        assert not taken
        for one, other in zip(wanted, together(sessions, turn), strict=True):
            same(one, other)
        assert taken and max(taken) <= 8
        taken.clear()
    fork = sessions[0].fork()
    same(write(alone[0].fork(), "Is there fat?"), write(fork, "Is there fat?"))
