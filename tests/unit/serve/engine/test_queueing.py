"""Whoever asks much waits for himself, not others for him."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ruichat.serve.engine.queueing import FairQueue

people = st.sampled_from(["ann", "bo", "cy"])
steps = st.lists(st.one_of(people, st.none()), max_size=60)


def fill(names: list[str]) -> FairQueue[tuple[str, int]]:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, name in enumerate(names):
        queue.put(name, (name, number))
    return queue


def drain(queue: FairQueue[tuple[str, int]]) -> list[tuple[str, int]]:
    taken = []
    while (item := queue.take()) is not None:
        taken.append(item)
    return taken


@given(st.lists(people, max_size=40))
def test_places_foretell_the_order_in_which_items_are_taken(names: list[str]) -> None:
    queue = fill(names)
    places = queue.places()
    assert [places[item] for item in drain(queue)] == list(range(1, len(names) + 1))


@given(st.lists(people, max_size=40))
def test_nobody_is_served_twice_while_another_waits(names: list[str]) -> None:
    taken = drain(fill(names))
    for start in range(len(taken)):
        served = Counter(name for name, _ in taken[:start])
        left = Counter(name for name, _ in taken[start:])
        waiting = [served[name] for name in left]
        assert not waiting or max(served.values(), default=0) <= min(waiting) + 1


@given(st.lists(people, max_size=40))
def test_each_person_is_served_in_the_order_of_asking(names: list[str]) -> None:
    taken = drain(fill(names))
    for name in set(names):
        numbers = [number for who, number in taken if who == name]
        assert numbers == sorted(numbers)


@given(steps)
def test_items_come_out_once_whatever_happens_between(moves: list[str | None]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    inside: set[tuple[str, int]] = set()
    for number, name in enumerate(moves):
        if name is not None:
            queue.put(name, (name, number))
            inside.add((name, number))
        elif number % 2:
            item = queue.take()
            assert (item is None) == (not inside)
            inside.discard(item)  # type: ignore[arg-type]
        elif inside:
            item = min(inside)
            assert queue.remove(item[0], item)
            assert not queue.remove(item[0], item)
            inside.discard(item)
        assert len(queue) == len(inside) and set(queue.places()) == inside
