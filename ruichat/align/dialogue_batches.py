"""Prepared dialogues and their bags as the global batches of the training loop."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ruichat.align.data.batch import DialogueBatch, collate
from ruichat.align.data.packing import BatchConfig, Numbers, Packed, pack
from ruichat.align.data.slides import Reader, facts_of, longest_facts
from ruichat.align.loop import Log, MicroBatch
from ruichat.errors import InputError, RuiChatError
from ruichat.model.processing import IGNORED, Encoded, RuiChatProcessor, Turn
from ruichat.truth.datasets.bags import Bags
from ruichat.truth.datasets.check import EmptySplitError
from ruichat.truth.datasets.dialogue import Dialogue, pose
from ruichat.truth.datasets.finding import Wrong
from ruichat.truth.datasets.laying import Laid, lay, most_regions
from ruichat.truth.datasets.store import DialogueFile


class DialogueBatches:
    """Global batches that depend on the seed and the step alone.

    Every dialogue is spelled once when this is made, so that what can't be trained on is told
    before the first step, and rows of a like length come together.

    Args:
        files: prepared dialogues.
        bags: of their slides.
        reader: of those bags.
        processor: of the model that is trained.
        config: budgets.
        seed: of the run.
        max_regions: of the model.
        max_positions: text tokens that the model reads.
        log: told how long the look through the data takes.

    Raises:
        EmptySplitError: there is no dialogue.
        InputError: a dialogue can't be read, has no bag, or is over a budget; it names file and
            dialogue.
        ArtifactError: a bag is of another encoder or damaged.
    """

    def __init__(
        self,
        files: Sequence[DialogueFile],
        bags: Bags,
        reader: Reader,
        processor: RuiChatProcessor,
        config: BatchConfig,
        *,
        seed: int,
        max_regions: int,
        max_positions: int,
        log: Log,
    ) -> None:
        self._files, self._bags, self._reader = files, bags, reader
        self._processor, self._config, self._seed = processor, config, seed
        self._max_regions, self._max_positions = max_regions, max_positions
        self._longest_facts = longest_facts(reader) if config.facts else ""
        self._ends = np.cumsum([len(file) for file in files]).tolist()
        if not self._ends or not self._ends[-1]:
            raise EmptySplitError("there is no dialogue to train on", hint="Give a file with some")
        self._tokens, self._tiles = self._measure()
        self._starts = np.cumsum([0, *(len(self._epoch(e)) for e in range(config.epochs))]).tolist()
        log(
            f"data: {self._ends[-1]} dialogues, {self._tokens.sum()} text tokens, "
            f"{self._starts[-1]} micro-batches in {config.epochs} epochs, {self.steps} steps"
        )

    @property
    def steps(self) -> int:
        """Steps until every dialogue was seen as often as there are epochs."""
        return -(-self._starts[-1] // self._config.micro_batches)

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
        shared = packed.row.tolist() if self._config.budget.row_tokens else None
        return MicroBatch(
            collate(words, [laid for _, laid in made], self._processor, shared),
            num_targets=sum(label != IGNORED for one in words for label in one.labels[1:]),
            num_tokens=sum(len(one.input_ids) for one in words),
            records=tuple(self._name(int(row)) for row in packed.dialogues),
        )

    @functools.lru_cache(maxsize=2)  # noqa: B019 - one of these lives as long as its run
    def _epoch(self, epoch: int) -> list[Packed]:
        return pack(self._tokens, self._tiles, self._config.budget, (self._seed, epoch))

    def _row(self, row: int) -> tuple[Encoded, Laid]:
        dialogue = self._dialogue(row)
        try:
            bags = [self._reader.read(path) for path in self._bags.of(dialogue)]
            shown = [self._reader.shown(bag) for bag in bags]
            laid = lay(dialogue, [bag for bag, _ in shown], self._max_regions)
            facts = ""
            if self._config.facts and len(bags) == 1:
                facts = facts_of(bags[0], shown[0][1], laid.num_regions)
            turns = turns_of(dialogue, (self._seed, row))
            return self._processor.dialogue(turns, laid.num_regions, facts), laid
        except RuiChatError as error:
            raise self._named(row, error) from error

    def _measure(self) -> tuple[Numbers, Numbers]:
        """Text tokens and tiles of every dialogue, as near as they can be known unread."""
        sizes = np.array([self._size(row) for row in range(self._ends[-1])], np.int64)
        return sizes[:, 0], sizes[:, 1]

    def _size(self, row: int) -> tuple[int, int]:
        dialogue = self._dialogue(row)
        try:
            paths = self._bags.of(dialogue)
            if not paths:
                raise InputError(
                    "it is about single pictures; training here reads bags of slides",
                    hint="Extract the pictures as slides, or leave the record out",
                )
            tiles = [self._num_tiles(path) for path in paths]
            k = most_regions(dialogue, tiles, self._max_regions)
            turns = turns_of(dialogue, (self._seed, row))
            spelled = self._processor.dialogue(turns, k, self._longest_facts)
            num = len(spelled.input_ids)
            self._check(num, sum(tiles))
        except Wrong as wrong:
            raise self._named(row, InputError(wrong.message, hint=wrong.remedy)) from None
        except RuiChatError as error:
            raise self._named(row, error) from error
        return num, sum(tiles)

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

    @functools.cache  # noqa: B019 - as above
    def _num_tiles(self, path: Path) -> int:
        return self._reader.num_tiles(path)

    def _place(self, row: int) -> tuple[DialogueFile, int]:
        at = bisect_right(self._ends, row)
        return self._files[at], row - (self._ends[at - 1] if at else 0)

    def _dialogue(self, row: int) -> Dialogue:
        file, line = self._place(row)
        return file[line]

    def _name(self, row: int) -> str:
        file, line = self._place(row)
        return f"{file.path.name} dialogue {line + 1}"

    def _named(self, row: int, error: RuiChatError) -> RuiChatError:
        return type(error)(f"{self._name(row)}: {error.message}", hint=error.hint)


def turns_of(dialogue: Dialogue, seed: Sequence[int]) -> list[Turn]:
    """Questions and answers, options in an order that the seed decides."""
    rng = np.random.default_rng(tuple(seed))
    found: list[Turn] = []
    for asked, said in zip(dialogue.turns[::2], dialogue.turns[1::2], strict=True):
        order = [int(i) for i in rng.permutation(len(asked.options))]
        question = pose(asked.text, asked.options, order)
        found.append(Turn(question, said.text, said.thought or ""))
    return found
