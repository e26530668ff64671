"""The one training loop: every stage hands it a module, what trains, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from torch import Tensor, nn

from ruichat.align.training.optimisers import build_optimisers, divide
from ruichat.align.training.placing import place
from ruichat.align.training.processes import start_processes
from ruichat.align.training.report import describe
from ruichat.align.training.run import DivergedError, Run
from ruichat.align.training.settings import (
    BeforeStep,
    Carried,
    Group,
    Log,
    LoopConfig,
    MicroBatch,
    MicroBatches,
    StepReport,
    run_digest,
)
from ruichat.align.training.state import StateFolder
from ruichat.align.training.zero import parts_of_each
from ruichat.errors import ConfigError

__all__ = [
    "BeforeStep",
    "Carried",
    "DivergedError",
    "Group",
    "Log",
    "LoopConfig",
    "MicroBatch",
    "MicroBatches",
    "StepReport",
    "alone_in",
    "build_optimisers",
    "run_loop",
]

T = TypeVar("T")


def run_loop(
    trained: nn.Module,
    micro_batches: MicroBatches[T],
    loss_of: Callable[[T], Tensor],
    config: LoopConfig,
    folder: Path,
    *,
    name: str,
    log: Log,
    seed: int = 0,
    groups: Sequence[Group] = (),
    carried: Carried | None = None,
    settings: str = "",
    before_step: BeforeStep[T] | None = None,
    after_step: Callable[[StepReport], None] | None = None,
) -> None:
    """Train what of `trained` asks for a gradient, going on from `folder` if a state is there.

    A global batch depends on the step alone, and every micro-batch's forward on the seed, the
    step and its number: processes deal the micro-batches among them and reach the same numbers
    as one alone, and a resumed run those of an unbroken one. Processes are found as accelerate
    and torchrun start them; FSDP2 or DeepSpeed are used where accelerate's config says so.

    Args:
        trained: holds the parameters; moved to the device. A state holds those that ask for a
            gradient, and buffers beside them: all else must come to the loop as it was.
        micro_batches: the parts of a step's global batch, as functions; each process calls those
            that it takes, in threads if `config.workers`. They must not draw from torch's, NumPy's
            or Python's global generators.
        loss_of: the loss of a micro-batch, summed over its targets; may draw from those
            generators, which are seeded before it.
        config: steps, optimiser, precision, what is written how often.
        folder: for states and curves.
        name: of the run, for the log.
        log: takes lines of the main process.
        seed: of the run.
        groups: parameters with rates of their own; the first that fits takes one.
        carried: what else changes from step to step.
        settings: fingerprint of what else decides the run's numbers: the stage's settings, the
            digests of data and base model. A folder of a run with another one is refused.
        before_step: given the step's number and this process's micro-batches, and gives them back
            with what none could compute by itself, such as targets that are balanced over the
            global batch; called by every process, so they may exchange. Must not draw from the
            global generators.
        after_step: called by every process after each step, before its state is kept.

    Raises:
        ConfigError: the folder holds a run with other settings, or is in use; a launch isn't what
            it claims; nothing trains.
        DivergedError: a loss isn't finite; nothing was learnt from it.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is kept.
    """
    processes = start_processes()
    parts = divide(trained, config, groups)
    with ExitStack() as stack:
        if processes.is_main:
            stack.enter_context(alone_in(folder))
        states = StateFolder(folder, run_digest(config, groups, settings, seed), config.keep)
        lines = describe(trained, parts, name)
        placed = place(trained, loss_of, config, processes)
        num = 0
        if processes.layout == "zero":
            num = parts_of_each(len(micro_batches(0)), processes)
        run = Run(placed, config, groups, processes, seed, num)
        start = run.resume(states, carried, log if processes.is_main else _quiet)
        if processes.is_main:
            for line in [f"{name}: going on from step {start}"] if start else lines:
                log(line)
        if start < config.steps:
            stack.enter_context(_recomputing(trained, config))
            trained.train()
            run.train(start, micro_batches, states, name, log, carried, before_step, after_step)
    trained.eval()


@contextmanager
def _recomputing(trained: nn.Module, config: LoopConfig) -> Generator[None]:
    """Gradient checkpointing in whatever model of transformers is within, if asked for."""
    models: list[Any] = []
    if config.gradient_checkpointing:
        models = [m for m in trained.modules() if hasattr(m, "gradient_checkpointing_enable")][:1]
        if not models:
            raise ConfigError(
                "gradient_checkpointing is set, and this stage trains no model of transformers",
                hint="Leave it out",
            )
    for model in models:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        for model in models:
            model.gradient_checkpointing_disable()


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Keep other runs out of a folder.

    Raises:
        ConfigError: one is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise ConfigError(
            f"another run is training in {folder}", hint="Wait for it, or give another folder"
        ) from None


def _quiet(_: str) -> None:
    pass
