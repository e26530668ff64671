"""A scripted chat model, and a slide view made without any slide."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from drawn import draw_tissue, write_pyramid
from fakes import MeanColourEncoder
from jaxtyping import Float32
from numpy.typing import NDArray

from ruichat.chat.answer import SlideRecord
from ruichat.chat.backend import Backend
from ruichat.chat.calibration import Calibration, KindCalibration
from ruichat.chat.facts import Share, SlideFacts
from ruichat.chat.view import SlideView
from ruichat.histology import CLASSES, KEYS
from ruichat.model.chat_model import OptionScore, Piece, SlideContext
from ruichat.model.regions import split_regions

_PIECE = re.compile(r"\[R\d+\]|\{\w+\}|<\|\w+\|>|[A-Za-z]+|\s+|.", re.DOTALL)

SURE = -0.001
"""Log-probability of a piece whose choice the scripted model doesn't doubt."""


@dataclass
class ScriptedSession:
    """Answers from a function, piece by piece, and remembers what it was asked."""

    answer: Callable[[str], str]
    logprob: float = SURE
    interrupt_after: int = 0
    thought: str = ""
    """Written before the answer where thinking is asked for."""
    asked: list[str] = field(default_factory=list)
    """Shared with all forks, as are `thinks` and `counts`."""
    thinks: list[bool | None] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    turns: tuple[str, ...] = ()
    """Questions of this session alone."""
    was_cut: bool = False

    def stream(
        self, question: str, *, max_tokens: int = 160, think: bool | None = None
    ) -> Generator[Piece, None, None]:
        self.asked.append(question)
        self.thinks.append(think)
        self.turns += (question,)
        done = False
        try:
            if think and self.thought:
                yield Piece("", 6000, SURE, thought=True)
                for text in _PIECE.findall(self.thought):
                    yield Piece(text, 81, -2.0, thought=True)
                yield Piece("", 6001, SURE, thought=True)
            pieces = _PIECE.findall(self.answer(question))
            self.was_cut = len(pieces) > max_tokens
            for text in pieces[:max_tokens]:
                self.counts["pieces"] += 1
                if self.counts["pieces"] == self.interrupt_after:
                    raise KeyboardInterrupt
                yield Piece(text, 80, self.logprob)
            done = True
        finally:
            self.counts["cut"] += not done

    def score(self, question: str, options: Sequence[str]) -> list[OptionScore]:
        return [OptionScore(self.logprob, 1) for _ in options]

    def fork(self) -> ScriptedSession:
        return replace(self)


@dataclass
class ScriptedModel:
    """Opens slides and keeps the sessions it gave out."""

    answer: Callable[[str], str]
    logprob: float = SURE
    name: str = "scripted"
    interrupt_after: int = 0
    thought: str = ""
    opened: list[SlideContext | None] = field(default_factory=list)
    sessions: list[ScriptedSession] = field(default_factory=list)

    def open(self, slide: SlideContext | None) -> ScriptedSession:
        self.opened.append(slide)
        session = ScriptedSession(self.answer, self.logprob, self.interrupt_after, self.thought)
        self.sessions.append(session)
        return self.sessions[-1]


def scripted(text: str, *, logprob: float = SURE) -> ScriptedSession:
    """A session that always writes the same."""
    return ScriptedSession(lambda _: text, logprob)


PLAIN = Calibration(default=KindCalibration(bias=0.0, weights=(1.0, 0.0, 0.0, 0.0)))
"""Confidence is the probability of the weakest deciding word itself."""


def make_view(
    *,
    tumour_regions: tuple[int, ...] = (1, 2),
    num_regions: int = 6,
    known_fraction: float = 0.95,
    calibration: Calibration | None = PLAIN,
    warnings: tuple[str, ...] = (),
) -> SlideView:
    """A slide of 6 x 4 tiles of 200 px, carcinoma nests in some regions and stroma elsewhere."""
    xy0 = np.array([[x * 200, y * 200] for y in range(4) for x in range(6)], np.int64)
    regions = split_regions(xy0, 200, 0.5, (1200, 800), max_regions=num_regions)
    classes = np.zeros((num_regions, len(CLASSES)), np.float32)
    for index in range(num_regions):
        tumour = index + 1 in tumour_regions
        classes[index, KEYS.index("carcinoma_nests" if tumour else "stroma")] = 0.9
        classes[index, KEYS.index("fat")] = 0.1
    share = len(tumour_regions) / num_regions
    facts = SlideFacts(
        tissue_mm2=0.24,
        num_tiles=24,
        num_regions=num_regions,
        mpp=0.5,
        composition=(Share("stroma", 1 - share), Share("carcinoma_nests", share)),
        tumour_fraction=share,
        focus=0.8,
        focus_grade="good",
        stain="H&E",
        known_fraction=known_fraction,
        warnings=warnings,
    )
    return SlideView(
        record=SlideRecord("ab" * 32, 1200, 800, 0.5, "file", 0.5),
        span0=200,
        xy0=xy0,
        regions=regions,
        region_classes=classes,
        facts=facts,
        model="scripted",
        calibration=calibration,
    )


class DarkIsTumour:
    """Reads tissue off `MeanColourEncoder`: dark tiles are carcinoma nests, pale ones stroma."""

    def __init__(self, *, known: float = 1.0) -> None:
        self.known = known

    def class_probabilities(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], "n c"]:
        dark = embeddings[:, 1] < 0.5
        rows = np.zeros((len(embeddings), len(CLASSES)), np.float32)
        rows[dark, KEYS.index("carcinoma_nests")] = 1
        rows[~dark, KEYS.index("stroma")] = 1
        return rows

    def known_score(
        self, embeddings: Float32[NDArray[np.float32], "n d"]
    ) -> Float32[NDArray[np.float32], " n"]:
        return np.full(len(embeddings), self.known, np.float32)


def make_backend(
    answer: Callable[[str], str] | str,
    *,
    known: float = 1.0,
    logprob: float = SURE,
    thought: str = "",
) -> Backend:
    """A scripted model that reads slides through `MeanColourEncoder`."""
    words = answer if callable(answer) else lambda _: answer
    return Backend(
        name="scripted",
        encoder=MeanColourEncoder(),
        classifier=DarkIsTumour(known=known),
        model=ScriptedModel(words, logprob, thought=thought),
        calibration=PLAIN,
        max_regions=4,
    )


def write_two_halves(path: Path) -> Path:
    """A slide of 0.9 x 0.45 mm whose left half is dark; 0.5 um/px stated in the file."""
    picture = draw_tissue(1800, 900, margin=40)
    left = picture[40:-40, 40:900]
    left[:] = (left.astype(np.float32) * 0.55).astype(np.uint8)
    return write_pyramid(path, picture, mpp=0.5)
