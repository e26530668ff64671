"""A scripted chat model, and a slide view made without any slide."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ruichat.chat.answer import SlideRecord
from ruichat.chat.calibration import Calibration, KindCalibration
from ruichat.chat.facts import Share, SlideFacts
from ruichat.chat.reply import SlideView
from ruichat.histology import CLASSES, KEYS
from ruichat.model.chat_model import OptionScore, Piece, SlideContext
from ruichat.model.regions import split_regions
from ruichat.model.vocabulary import CANNOT, SPECIAL_PIECES

_PIECE = re.compile(r"\[R\d+\]|\{\w+\}|<\|\w+\|>|[A-Za-z]+|\s+|.", re.DOTALL)

SURE = -0.001
"""Log-probability of a piece whose choice the scripted model doesn't doubt."""


@dataclass
class ScriptedSession:
    """Answers from a function, piece by piece, and remembers what it was asked."""

    answer: Callable[[str], str]
    logprob: float = SURE
    asked: list[str] = field(default_factory=list)
    num_pieces: int = 0
    closed_early: int = 0

    def stream(self, question: str, *, max_tokens: int = 160) -> Generator[Piece, None, None]:
        self.asked.append(question)
        done = False
        try:
            for text in _PIECE.findall(self.answer(question))[:max_tokens]:
                self.num_pieces += 1
                yield _piece(text, self.logprob)
            done = True
        finally:
            self.closed_early += not done

    def score(self, question: str, options: Sequence[str]) -> list[OptionScore]:
        return [OptionScore(self.logprob, 1) for _ in options]

    def fork(self) -> ScriptedSession:
        return ScriptedSession(self.answer, self.logprob)

    def rewind(self) -> None:
        self.asked.clear()


@dataclass
class ScriptedModel:
    """Opens slides and keeps the sessions it gave out."""

    answer: Callable[[str], str]
    logprob: float = SURE
    name: str = "scripted"
    opened: list[SlideContext | None] = field(default_factory=list)
    sessions: list[ScriptedSession] = field(default_factory=list)

    def open(self, slide: SlideContext | None) -> ScriptedSession:
        self.opened.append(slide)
        self.sessions.append(ScriptedSession(self.answer, self.logprob))
        return self.sessions[-1]


def _piece(text: str, logprob: float) -> Piece:
    """As our own models do: the abstention piece spells nothing."""
    if text == CANNOT:
        return Piece("", SPECIAL_PIECES.index(CANNOT), logprob)
    return Piece(text, len(SPECIAL_PIECES), logprob)


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
