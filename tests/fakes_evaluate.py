"""Slides whose tiles say their class outright, and models scripted to read them or to guess."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from ruichat.evaluate.answering import Prompt, Tick, Written
from ruichat.evaluate.controls import Shown
from ruichat.evaluate.questions import Asked, reorder_options
from ruichat.evaluate.rules import answer_by_rule
from ruichat.histology import KEYS
from ruichat.model.chat_model import Piece
from ruichat.model.vocabulary import CANNOT
from ruichat.truth.bank import TileBank
from ruichat.truth.dialogues import QA
from ruichat.truth.dialogues.reading import Reading
from ruichat.truth.symbolic import SymbolicSlide

NUM_CLASSES = len(KEYS)


class ReadsOneHot:
    """A tile classifier for embeddings that are the class itself."""

    def class_probabilities(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], "n c"]:
        return embeddings

    def known_score(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], " n"]:
        return np.ones(len(embeddings), np.float32)


def one_hot_bank(per_class: int = 3) -> TileBank:
    """Held-out tiles of every class; embedding and colour are the class."""
    main = np.repeat(np.arange(NUM_CLASSES), per_class)
    target = np.eye(NUM_CLASSES, dtype=np.float32)[main]
    n = len(main)
    return TileBank(
        target[:, None],
        target[:, None, :12].copy(),
        target,
        np.zeros(n, bool),
        np.full(n, "drawn"),
        np.arange(n).astype(np.str_),
        np.full(n, "test"),
    )


@dataclass
class Scripted:
    """Answers by a function of what is shown and asked; counts its calls."""

    words: Callable[[Shown, QA], str]
    questions: dict[str, QA]
    how: str = "scripted"
    num_prompts: int = 0
    asked: list[str] = field(default_factory=list)

    def answer(
        self, prompts: Sequence[Prompt], *, max_tokens: int, tick: Tick | None = None
    ) -> list[Written]:
        self.num_prompts += len(prompts)
        self.asked += [prompt.question for prompt in prompts]
        return [
            written(self.words(p.shown, self.questions[" ".join(p.question.split())]))
            for p in prompts
        ]


def written(text: str, logprob: float = -0.01) -> Written:
    """Words as a model writes them, the abstention piece as one."""
    pieces: list[Piece] = []
    if text.startswith(CANNOT):
        pieces.append(Piece(CANNOT, 9, logprob))
        text = text.removeprefix(CANNOT)
    pieces += [Piece(part, 5000, logprob) for part in text.replace("[R", "\0[R").split("\0")]
    return Written(tuple(pieces))


def by_question(asked: Sequence[Asked]) -> dict[str, QA]:
    """Every question with its truth, reordered ones too."""
    known = [item.qa for item in asked]
    known += [qa for item in asked if (qa := reorder_options(item.qa)) is not None]
    return {" ".join(qa.question.split()): qa for qa in known}


def oracle(shown: Shown, qa: QA) -> str:
    """Reads every tile rightly; what it isn't shown it takes for stroma."""
    tiles = shown.embeddings.argmax(1)
    if shown.blind:
        tiles = np.full(len(tiles), KEYS.index("stroma"))
    guess = answer_by_rule(qa, Reading(SymbolicSlide.from_truth(tiles, shown.regions)))
    if qa.kind == "cannot":
        return f"{CANNOT}Cannot determine."
    if guess is None or guess.key not in qa.options:
        return qa.answer
    cites = "".join(f"[R{region + 1}]" for region in guess.cited)
    return f"{qa.markers[qa.options.index(guess.key)]} {cites}."


def guesser(shown: Shown, qa: QA) -> str:
    """Never looks: the first option, and the first region."""
    if qa.markers:
        return f"{min(qa.markers)} [R1]."
    return "Yes [R1]." if qa.kind == "cannot" else qa.answer
