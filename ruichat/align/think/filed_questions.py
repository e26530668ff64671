"""Questions of dialogue files, while thinking about them is rewarded."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ruichat.align.data.dialogues import FiledDialogues, Shown
from ruichat.align.dialogue_batches import turns_of
from ruichat.align.think.questions import Question
from ruichat.align.think.rewards import Truth
from ruichat.errors import InputError
from ruichat.model.processing import RuiChatProcessor
from ruichat.truth.bags import BagBatch, pad_bags
from ruichat.truth.datasets.check import EmptySplitError
from ruichat.truth.datasets.checkable import Checkable, checkable


@dataclass(frozen=True)
class Asked:
    """A question that can be checked.

    Attributes:
        row: of its dialogue.
        turn: which of its questions.
        kind: by what the answer is checked.
    """

    row: int
    turn: int
    kind: Checkable


def find_asked(dialogues: FiledDialogues, kinds: Sequence[str] = ()) -> tuple[Asked, ...]:
    """All questions that can be checked, in order.

    Args:
        dialogues: to look through.
        kinds: by what; all if empty.

    Raises:
        EmptySplitError: there is none.
    """
    found: list[Asked] = []
    for row in range(len(dialogues)):
        dialogue = dialogues[row]
        pairs = zip(dialogue.turns[::2], dialogue.turns[1::2], strict=True)
        for turn, (asked, said) in enumerate(pairs):
            kind = checkable(asked, said, dialogue.kind)
            if kind is not None and (not kinds or kind in kinds):
                found.append(Asked(row, turn, kind))
    if not found:
        raise EmptySplitError(
            f"none of {len(dialogues)} dialogues asks what can be checked"
            + (f" by {', '.join(kinds)}" if kinds else ""),
            hint="Give options, or answers that cite regions; see docs/think.md",
        )
    return tuple(found)


class FiledQuestions:
    """Questions of dialogue files, each epoch in an order of its own.

    What was said before a question in its dialogue stands before it, as the file has it.

    Args:
        dialogues: with their slides.
        asked: which questions of theirs.
        processor: spells.
        num: how many are asked in all; those of the files come again where they are fewer.
        seed: of order, and of the order of options.
        kept: slides kept ready; a bag may take hundreds of MB.
    """

    def __init__(
        self,
        dialogues: FiledDialogues,
        asked: Sequence[Asked],
        processor: RuiChatProcessor,
        *,
        num: int,
        seed: int,
        kept: int,
    ) -> None:
        self._dialogues, self._asked, self._processor = dialogues, asked, processor
        self._num, self._seed = num, seed
        self._order = functools.lru_cache(2)(self._draw_order)
        self._show = functools.lru_cache(kept)(self._show_one)
        self._ask = functools.lru_cache(64 * kept)(self._ask_one)

    def __len__(self) -> int:
        return self._num

    def question(self, number: int) -> Question:
        """See `Questions`."""
        return self._ask(number)

    def regions(self, numbers: Sequence[int]) -> BagBatch:
        """See `Questions`."""
        laid = [self._show(self._at(number).row).laid for number in numbers]
        return pad_bags(
            [one.embeddings for one in laid],
            [one.region for one in laid],
            [one.geometry for one in laid],
        )

    def name(self, number: int) -> str:
        """File, dialogue and question."""
        asked = self._at(number)
        return f"{self._dialogues.name(asked.row)}, question {asked.turn + 1}"

    def check(self, max_positions: int, max_tokens: int) -> None:
        """Refuse questions for whose thought and answer the model has no room.

        Args:
            max_positions: text tokens that it reads.
            max_tokens: longest completion.

        Raises:
            InputError: names file and dialogue.
        """
        for asked in self._asked:
            with self._dialogues.naming(asked.row):
                k = self._dialogues.size(asked.row).most_regions
                num = len(self._prompt(asked, 0, k, self._dialogues.longest_facts))
                if num + max_tokens > max_positions:
                    raise InputError(
                        f"question {asked.turn + 1} takes {num} text tokens, and a completion "
                        f"{max_tokens}; the model reads {max_positions}",
                        hint="Lower reinforce.max_tokens, or divide the dialogue",
                    )

    def _at(self, number: int) -> Asked:
        epoch, place = divmod(number, len(self._asked))
        return self._asked[int(self._order(epoch)[place])]

    def _draw_order(self, epoch: int) -> list[int]:
        return np.random.default_rng((self._seed, 8, epoch)).permutation(len(self._asked)).tolist()

    def _show_one(self, row: int) -> Shown:
        with self._dialogues.naming(row):
            return self._dialogues.show(row)

    def _ask_one(self, number: int) -> Question:
        asked, shown = self._at(number), self._show(self._at(number).row)
        turns = self._dialogues[asked.row].turns[2 * asked.turn :]
        truth = Truth.of_turn(turns[0], turns[1], asked.kind, shown.area_mm2.tolist())
        ids = self._prompt(asked, number, shown.laid.num_regions, shown.facts)
        return Question(tuple(ids), truth)

    def _prompt(self, asked: Asked, number: int, num_regions: int, facts: str) -> list[int]:
        spell = self._processor
        turns = turns_of(self._dialogues[asked.row], (self._seed, asked.row, number))
        before = spell.dialogue(turns[: asked.turn], num_regions, facts).input_ids
        question = spell.question_ids(turns[asked.turn].question, first=asked.turn == 0)
        return [*before, *question, spell.pieces.think]
