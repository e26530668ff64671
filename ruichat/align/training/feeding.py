"""The batches of a run in the order of its steps, made ahead where threads are given."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ruichat.align.training.processes import Processes
from ruichat.align.training.settings import LoopConfig, MicroBatch, MicroBatches
from ruichat.errors import ConfigError

T = TypeVar("T")


def feed(
    micro_batches: MicroBatches[T], config: LoopConfig, processes: Processes, start: int
) -> Generator[tuple[list[MicroBatch[T]], Sequence[int]]]:
    """This process's part of every step's global batch, with the numbers of its micro-batches.

    With workers, those of the next step are made while one step computes.
    """

    def begin(step: int) -> tuple[list[Callable[[], MicroBatch[T]]], Sequence[int]]:
        makers = micro_batches(step)
        _check_number(len(makers), processes)
        return list(processes.share(makers)), processes.share(range(len(makers)))

    if not config.workers:
        for step in range(start, config.steps):
            makers, numbers = begin(step)
            yield [make() for make in makers], numbers
        return
    with ThreadPoolExecutor(config.workers) as pool:
        ahead: list[tuple[list[Future[MicroBatch[T]]], Sequence[int]]] = []
        try:
            for step in range(start, config.steps):
                while len(ahead) < min(2, config.steps - step):
                    makers, numbers = begin(step + len(ahead))
                    ahead.append(([pool.submit(make) for make in makers], numbers))
                futures, numbers = ahead.pop(0)
                yield [future.result() for future in futures], numbers
        finally:
            for futures, _ in ahead:
                for future in futures:
                    future.cancel()


def _check_number(num: int, processes: Processes) -> None:
    divided = processes.layout == "shards" and num % processes.num
    if num < processes.num or divided:
        rule = "a multiple of them" if processes.layout == "shards" else "at least one for each"
        raise ConfigError(
            f"a step has {num} micro-batches for {processes.num} processes; allowed: {rule}",
            hint="Start fewer processes, or set more micro-batches to a step",
        )
