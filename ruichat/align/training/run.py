"""One process's part in a run: forward, backward, the step of the optimisers, the kept state."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ruichat.align.training.feeding import feed
from ruichat.align.training.optimisers import build_optimisers, build_schedules
from ruichat.align.training.placing import Placed, clip, exchange, to_device
from ruichat.align.training.processes import Processes
from ruichat.align.training.report import Reporter
from ruichat.align.training.settings import (
    BeforeStep,
    Carried,
    Group,
    Log,
    LoopConfig,
    MicroBatch,
    MicroBatches,
    StepReport,
)
from ruichat.align.training.state import (
    StateFolder,
    load_optimiser,
    load_trained,
    trained_tensors,
    whole_state,
)
from ruichat.align.training.stopping import Stopper
from ruichat.align.training.zero import ZeroEngine
from ruichat.errors import ArtifactError, ModelError

T = TypeVar("T")


class DivergedError(ModelError):
    """The loss or its gradient is no finite number; `records` were in the batch."""

    def __init__(self, what: str, step: int, records: Sequence[str]) -> None:
        named = ", ".join(records[:8]) + (f" and {len(records) - 8} more" * (len(records) > 8))
        super().__init__(
            f"{what} isn't finite in step {step + 1}{f', which read {named}' if named else ''}",
            hint="Look at these records, or lower learning_rate; run again to go on from the "
            "last kept state",
        )
        self.step, self.records = step, tuple(records)


class Run(Generic[T]):
    """Optimisers, schedules and the arithmetic of a step."""

    def __init__(
        self,
        placed: Placed[T],
        config: LoopConfig,
        groups: Sequence[Group],
        processes: Processes,
        seed: int,
        num_parts: int = 0,
    ) -> None:
        self._placed, self._config, self._processes, self._seed = placed, config, processes, seed
        self._optimisers = build_optimisers(placed.trained, config, groups)
        self._schedules = build_schedules(self._optimisers, config)
        self._zero: ZeroEngine | None = None
        if processes.layout == "zero":
            assert isinstance(placed.forward, nn.Module)
            self._zero = ZeroEngine(placed.forward, self._optimisers, config, num_parts)
        self._parameters = [p for p in placed.trained.parameters() if p.requires_grad]

    def train(
        self,
        start: int,
        micro_batches: MicroBatches[T],
        states: StateFolder,
        name: str,
        log: Log,
        carried: Carried | None,
        before_step: BeforeStep[T] | None,
        after_step: Callable[[StepReport], None] | None,
    ) -> None:
        """All steps from `start` on."""
        config, is_main = self._config, self._processes.is_main
        reporter = Reporter(states.path, config, name=name, start=start, log=log, active=is_main)
        batches = feed(micro_batches, config, self._processes, start)
        with Stopper() as stopper, contextlib.closing(reporter), contextlib.closing(batches):
            for step in range(start, config.steps):
                # Asked before the batch is drawn: drawing it changes what is carried.
                if self._processes.sums([float(stopper.asked)])[0]:
                    self.keep(step, states, carried)
                    if is_main:
                        log(f"{name}: stopped after step {step}; run again to go on from there")
                    raise KeyboardInterrupt
                parts, numbers = next(batches)
                targets, tokens = self._processes.sums(
                    [
                        sum(part.num_targets for part in parts),
                        sum(part.num_tokens for part in parts),
                    ]
                )
                if before_step is not None:
                    parts = before_step(step, parts)
                loss, norm = self.step(step, parts, numbers, int(targets))
                done = step + 1
                report = StepReport(done, loss, norm, int(targets), int(tokens), self.rates())
                self.advance()
                if after_step is not None:
                    after_step(report)
                reporter.step(report)
                if done % config.checkpoint_every == 0 or done == config.steps:
                    self.keep(done, states, carried)

    def step(
        self, step: int, parts: Sequence[MicroBatch[T]], numbers: Sequence[int], targets: int
    ) -> tuple[float, float]:
        """Gradients of the global batch, clipped; its loss and the gradient's norm."""
        if self._zero is not None:
            return self._zero_step(self._zero, step, parts, numbers, targets)
        device, num = self._processes.device, self._processes.num
        losses: list[Tensor] = []
        for part, number in zip(parts, numbers, strict=True):
            last = number == numbers[-1]
            with contextlib.nullcontext() if last else self._placed.apart():
                _seed(self._seed, step, number)
                loss = self._placed.forward(to_device(part.content, device)) / max(targets, 1)
                # The exchange of gradients takes their mean over the processes.
                (loss * num).backward()
            losses.append(loss.detach())
        total = self._total(step, parts, losses)
        exchange(self._placed, self._processes)
        norm = clip(self._parameters, self._config.clip, self._processes)
        if not np.isfinite(norm):
            self._diverged("the gradient", step, parts)
        return total, norm

    def _zero_step(
        self,
        zero: ZeroEngine,
        step: int,
        parts: Sequence[MicroBatch[T]],
        numbers: Sequence[int],
        targets: int,
    ) -> tuple[float, float]:
        """As `step`, where the last backward changes the weights."""
        losses: list[Tensor] = []
        total = 0.0
        for part, number in zip(parts, numbers, strict=True):
            _seed(self._seed, step, number)
            content = to_device(part.content, self._processes.device)
            loss = zero.forward(content) / max(targets, 1)
            losses.append(loss.detach())
            if number == numbers[-1]:
                total = self._total(step, parts, losses)
            zero.backward(loss * self._processes.num)
        norm = zero.norm()
        if not np.isfinite(norm):
            self._diverged("the gradient", step, parts)
        return total, norm

    def _total(self, step: int, parts: Sequence[MicroBatch[T]], losses: Sequence[Tensor]) -> float:
        """The loss of the global batch; raises where it isn't finite."""
        values = [float(loss) for loss in losses]
        total = self._processes.sums([sum(values)])[0]
        if not np.isfinite(total):
            bad = [
                part for part, value in zip(parts, values, strict=True) if not np.isfinite(value)
            ]
            self._diverged("the loss", step, bad)
        return total

    def advance(self) -> None:
        """Take the step that the gradients say."""
        if self._zero is not None:
            # Its step was taken with the last backward.
            for part in self._schedules:
                part.step()
            self._zero.take_rates()
            return
        for part in [*self._optimisers, *self._schedules]:
            part.step()
        for optimiser in self._optimisers:
            optimiser.zero_grad(set_to_none=True)

    def rates(self) -> dict[str, float]:
        """Learning rate of every group."""
        return {
            str(group["group"]): float(group["lr"])
            for optimiser in self._optimisers
            for group in optimiser.param_groups
        }

    def keep(self, step: int, states: StateFolder, carried: Carried | None) -> None:
        """Write the state after `step` steps."""
        optimisers = self._optimisers
        if self._zero is not None:
            if self._processes.is_main:
                states.clear(step)
            self._processes.sums([0.0])
            self._zero.save(states.of(step))
            self._processes.sums([0.0])
            optimisers = []
        content: dict[str, Any] = {
            "model": whole_state(trained_tensors(self._placed.trained)),
            "optimisers": [whole_state(part.state_dict()) for part in optimisers],
            "schedules": [part.state_dict() for part in self._schedules],
            "carried": None if carried is None else carried.state_dict(),
        }
        if self._processes.is_main:
            states.write(step, content)
        # Nobody goes on, or ends, before the state is there.
        self._processes.sums([0.0])

    def resume(self, states: StateFolder, carried: Carried | None, log: Log) -> int:
        """Go on from the newest state; the number of steps done."""
        kept = states.newest(log) if self._processes.is_main else None
        step = self._processes.agree(None if kept is None else kept.step)
        if step is None:
            return 0
        kept = kept or states.read(step)
        load_trained(self._placed.trained, kept.content["model"])
        if self._zero is not None:
            self._zero.load(states.of(step))
            self._zero.take_rates()
        else:
            self._load_optimisers(kept.content["optimisers"], states.of(step))
        for part, state in zip(self._schedules, kept.content["schedules"], strict=True):
            part.load_state_dict(state)
        if carried is not None and kept.content["carried"] is not None:
            carried.load_state_dict(kept.content["carried"])
        return step

    def _load_optimisers(self, found: list[dict[str, Any]], folder: Path) -> None:
        if len(found) != len(self._optimisers):
            raise ArtifactError(
                f"{folder} has states of {len(found)} optimisers, not {len(self._optimisers)}",
                hint="Go on as it was begun, under DeepSpeed or without, or give another folder "
                "with --out",
            )
        for part, state in zip(self._optimisers, found, strict=True):
            load_optimiser(part, state)

    def _diverged(self, what: str, step: int, parts: Sequence[MicroBatch[T]]) -> None:
        own = [record for part in parts for record in part.records]
        raise DivergedError(what, step, self._processes.gather(own))


def _seed(seed: int, step: int, number: int) -> None:
    """Seed the global generators for one micro-batch; step alone where the others are 0."""
    # torch's CPU generator reads 32 bits: odd factors spread the parts over all of them.
    value = (step + 0x9E3779B1 * number + 0x85EBCA77 * seed) % 2**32
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
