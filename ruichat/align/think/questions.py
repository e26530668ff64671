"""What is asked while thinking is rewarded: a question, its slide, and what the answer must say."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ruichat.align.think.rewards import Truth
from ruichat.histology import Language
from ruichat.model.processing import RuiChatProcessor
from ruichat.truth.bags import BagBatch, BagMaker, LaidSlide, collate_bags
from ruichat.truth.dialogues import write_dialogue
from ruichat.truth.facts import draw_facts

MOST_KEPT = 512
"""Questions kept ready; their slides are laid again where they were dropped."""


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        prompt_ids: prefix, question, and the piece that opens a thought.
        truth: what the answer is measured against.
    """

    prompt_ids: tuple[int, ...]
    truth: Truth


@runtime_checkable
class Questions(Protocol):
    """Questions by number; the same number is the same question in every process and run."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def question(self, number: int) -> Question:
        """One of them."""
        ...

    def regions(self, numbers: Sequence[int]) -> BagBatch:
        """The slides that they are about, padded to one batch."""
        ...

    def name(self, number: int) -> str:
        """What messages call one of them."""
        ...


class LaidQuestions:
    """Questions about slides laid from tiles of known class.

    Args:
        bags: lays the slides.
        processor: spells.
        seed: of these questions; training and held-out ones need different seeds or bags.
        num: how many.
        kinds: kinds that are asked; all if empty.
    """

    def __init__(
        self,
        bags: BagMaker,
        processor: RuiChatProcessor,
        *,
        seed: Sequence[int],
        num: int,
        kinds: Sequence[str] = (),
    ) -> None:
        self._bags, self._processor = bags, processor
        self._seed, self._num, self._kinds = tuple(seed), num, kinds or None
        self._draw = functools.lru_cache(MOST_KEPT)(self._draw_one)

    def __len__(self) -> int:
        return self._num

    def question(self, number: int) -> Question:
        """See `Questions`."""
        return self._draw(number)[0]

    def regions(self, numbers: Sequence[int]) -> BagBatch:
        """See `Questions`."""
        return collate_bags([self._draw(number)[1] for number in numbers])

    def name(self, number: int) -> str:
        """See `Questions`."""
        return f"question {number + 1} of seed {'-'.join(map(str, self._seed))}"

    def _draw_one(self, number: int) -> tuple[Question, LaidSlide]:
        rng = np.random.default_rng((*self._seed, number))
        language: Language = "en" if rng.random() < 0.5 else "zh"
        while True:
            slide = self._bags.draw(rng)
            # Some slides allow no question of the kinds asked for.
            turns = write_dialogue(slide.truth, rng, language, self._kinds, num_turns=1)
            if turns:
                break
        facts = draw_facts(slide.truth, rng)
        spell = self._processor
        ids = [
            *spell.prefix_ids(slide.truth.num_regions, facts),
            *spell.question_ids(turns[0].question),
            spell.pieces.think,
        ]
        truth = Truth.of_question(turns[0], slide.truth.mm2.tolist())
        return Question(tuple(ids), truth), slide
