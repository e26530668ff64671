"""A bounded queue that serves people in turn, however much each of them asks."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class FairQueue(Generic[T]):
    """Items wait behind earlier ones of the same person; people take turns.

    Not safe for threads: its owner holds a lock.
    """

    def __init__(self) -> None:
        # People in the order of their turns; whoever was served goes to the end.
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, user_id: str, item: T) -> None:
        """Append an item to those of its person."""
        self._waiting.setdefault(user_id, deque()).append(item)

    def take(self) -> T | None:
        """The next item; None if none waits."""
        if not self._waiting:
            return None
        user_id, items = next(iter(self._waiting.items()))
        item = items.popleft()
        if items:
            self._waiting.move_to_end(user_id)
        else:
            del self._waiting[user_id]
        return item

    def remove(self, user_id: str, item: T) -> bool:
        """Take an item out of its place; False if it isn't waiting."""
        items = self._waiting.get(user_id)
        if items is None or item not in items:
            return False
        items.remove(item)
        if not items:
            del self._waiting[user_id]
        return True

    def places(self) -> dict[T, int]:
        """Each item's place, 1 for the next, if nobody else comes."""
        places: dict[T, int] = {}
        numbers = count(1)
        turns = [list(items) for items in self._waiting.values()]
        for turn in range(max(map(len, turns), default=0)):
            for items in turns:
                if turn < len(items):
                    places[items[turn]] = next(numbers)
        return places
