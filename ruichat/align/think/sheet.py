"""Questions of several sets, by the names and numbers under which the trainer asks for them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from ruichat.align.think.questions import Question, Questions
from ruichat.truth.bags import BagBatch


class Sheet:
    """Training and held-out questions.

    A name is what TRL takes for a prompt; a number can be part of a batch of tensors.

    Args:
        sets: questions by the name of their set.
    """

    def __init__(self, sets: Mapping[str, Questions]) -> None:
        self._sets = dict(sets)
        lengths = accumulate((len(one) for one in self._sets.values()), initial=0)
        self._starts = dict(zip(self._sets, lengths, strict=False))

    def names(self, of: str) -> list[str]:
        """Names of a set's questions, in order."""
        return [f"{of}/{number}" for number in range(len(self._sets[of]))]

    def number(self, name: str) -> int:
        """Number of a question among those of all sets."""
        of, _, number = name.partition("/")
        return self._starts[of] + int(number)

    def question(self, name: str) -> Question:
        """A question by its name."""
        of, _, number = name.partition("/")
        return self._sets[of].question(int(number))

    def called(self, number: int) -> str:
        """What messages call a question, by its number."""
        names, starts = list(self._starts), list(self._starts.values())
        at = bisect_right(starts, number) - 1
        return self._sets[names[at]].name(number - starts[at])

    def regions(self, numbers: Sequence[int]) -> BagBatch:
        """The slides of questions of one set, by their numbers."""
        names, starts = list(self._starts), list(self._starts.values())
        at = bisect_right(starts, numbers[0]) - 1
        return self._sets[names[at]].regions([number - starts[at] for number in numbers])
