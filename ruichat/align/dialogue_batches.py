"""Prepared dialogues and their bags as the global batches of the training loop."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np

from ruichat.align.data.batch import DialogueBatch, collate
from ruichat.align.data.dialogues import FiledDialogues
from ruichat.align.data.packing import BatchConfig, Numbers, Packed, pack
from ruichat.align.loop import Log, MicroBatch
from ruichat.errors import InputError
from ruichat.model.processing import IGNORED, Encoded, RuiChatProcessor, Turn
from ruichat.truth.datasets.dialogue import Dialogue, pose
from ruichat.truth.datasets.laying import Laid

Spoken = Callable[[Dialogue, Sequence[int]], list[Turn]]
"""What is said in a dialogue, as it is learnt; all choices come from the seed."""


def turns_of(dialogue: Dialogue, seed: Sequence[int]) -> list[Turn]:
    """Questions and answers, options in an order that the seed decides."""
    rng = np.random.default_rng(tuple(seed))
    found: list[Turn] = []
    for asked, said in zip(dialogue.turns[::2], dialogue.turns[1::2], strict=True):
        order = [int(i) for i in rng.permutation(len(asked.options))]
        question = pose(asked.text, asked.options, order)
        found.append(Turn(question, said.text, said.thought or ""))
    return found


class DialogueBatches:
    """Global batches that depend on the seed and the step alone.

    Every dialogue is spelled once when this is made, so that what can't be trained on is told
    before the first step, and rows of a like length come together.

    Args:
        dialogues: with their slides.
        processor: of the model that is trained.
        config: budgets.
        seed: of the run.
        max_positions: text tokens that the model reads.
        log: told how long the look through the data takes.
        spoken: what of a dialogue is learnt.

    Raises:
        InputError: a dialogue can't be read, has no bag, or is over a budget; it names file and
            dialogue.
        ArtifactError: a bag is of another encoder or damaged.
    """

    def __init__(
        self,
        dialogues: FiledDialogues,
        processor: RuiChatProcessor,
        config: BatchConfig,
        *,
        seed: int,
        max_positions: int,
        log: Log,
        spoken: Spoken = turns_of,
    ) -> None:
        self._dialogues, self._processor, self._config = dialogues, processor, config
        self._seed, self._max_positions, self._spoken = seed, max_positions, spoken
        self._tokens, self._tiles = self._measure()
        self._starts = np.cumsum([0, *(len(self._epoch(e)) for e in range(config.epochs))]).tolist()
        log(
            f"data: {len(dialogues)} dialogues, {self._tokens.sum()} text tokens, "
            f"{self._starts[-1]} micro-batches in {config.epochs} epochs, {self.steps} steps"
        )

    @property
    def steps(self) -> int:
        """Steps until every dialogue was seen as often as there are epochs."""
        return -(-self._starts[-1] // self._config.micro_batches)

    @property
    def bags_digest(self) -> str:
        """Over how the slides' bags were made."""
        return self._dialogues.bags_digest

    def micro_batches(self, step: int) -> list[Callable[[], MicroBatch[DialogueBatch]]]:
        """See `loop.run_loop`."""
        first = step * self._config.micro_batches
        return [functools.partial(self._make, first + i) for i in range(self._config.micro_batches)]

    def _make(self, number: int) -> MicroBatch[DialogueBatch]:
        # What a last step lacks comes from the first epoch again.
        number %= self._starts[-1]
        epoch = bisect_right(self._starts, number) - 1
        packed = self._epoch(epoch)[number - self._starts[epoch]]
        made = [self._row(int(row)) for row in packed.dialogues]
        words = [spelled for spelled, _ in made]
        slides = [self._dialogues.slides(int(row)) for row in packed.dialogues]
        about = [slides.index(one) for one in slides]
        shared = packed.row.tolist() if self._config.budget.row_tokens else None
        return MicroBatch(
            collate(words, [laid for _, laid in made], self._processor, shared, about),
            num_targets=sum(label != IGNORED for one in words for label in one.labels[1:]),
            num_tokens=sum(len(one.input_ids) for one in words),
            records=tuple(self._dialogues.name(int(row)) for row in packed.dialogues),
        )

    @functools.lru_cache(maxsize=2)  # noqa: B019 - one of these lives as long as its run
    def _epoch(self, epoch: int) -> list[Packed]:
        return pack(self._tokens, self._tiles, self._config.budget, (self._seed, epoch))

    def _row(self, row: int) -> tuple[Encoded, Laid]:
        with self._dialogues.naming(row):
            shown = self._dialogues.show(row)
            return self._spell(row, shown.laid.num_regions, shown.facts), shown.laid

    def _spell(self, row: int, num_regions: int, facts: str) -> Encoded:
        turns = self._spoken(self._dialogues[row], (self._seed, row))
        return self._processor.dialogue(turns, num_regions, facts)

    def _measure(self) -> tuple[Numbers, Numbers]:
        """Text tokens and tiles of every dialogue, as near as they can be known unread."""
        sizes = np.array([self._size(row) for row in range(len(self._dialogues))], np.int64)
        return sizes[:, 0], sizes[:, 1]

    def _size(self, row: int) -> tuple[int, int]:
        with self._dialogues.naming(row):
            size = self._dialogues.size(row)
            spelled = self._spell(row, size.most_regions, self._dialogues.longest_facts)
            num = len(spelled.input_ids)
            self._check(num, size.tiles)
        return num, size.tiles

    def _check(self, tokens: int, tiles: int) -> None:
        budget = self._config.budget
        name = "row_tokens" if budget.row_tokens else "tokens"
        for what, found, most, remedy in (
            ("text tokens", tokens, self._max_positions, "The model reads no more: divide it"),
            ("text tokens", tokens, budget.longest, f"Raise budget.{name}"),
            ("tiles", tiles, budget.tiles, "Raise budget.tiles"),
        ):
            if found > most:
                raise InputError(f"it has {found} {what}; allowed: {most}", hint=remedy)
