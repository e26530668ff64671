"""What a run tells: what trains, how the loss goes, how long it takes."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ruichat.align.training.optimisers import Part
from ruichat.align.training.settings import Log, LoopConfig, StepReport
from ruichat.errors import PrerequisiteError
from ruichat.registry import require
from ruichat.storage.artifacts import write_atomic

WANDB_FILE = "wandb.txt"
"""Holds the number that Weights & Biases gave the run."""

_NAMES = {"adamw": "AdamW", "muon": "Muon"}


def describe(trained: nn.Module, parts: Sequence[Part], name: str) -> list[str]:
    """Lines that say what trains at which rate, and what is frozen."""
    sizes = {key: p.numel() for key, p in trained.named_parameters()}
    lines: list[str] = []
    for part in parts:
        those = {key: sizes.pop(key) for key in part.names}
        how = f"{_NAMES[part.optimiser]}, rate {part.learning_rate:g}"
        lines.append(f"{name} trains {part.group}: {_in_modules(those)}; {how}")
    # PEFT keeps a module as it came beside its copy that trains; only the copy is used.
    frozen = {key: size for key, size in sizes.items() if ".original_module." not in key}
    if frozen:
        lines.append(f"{name} leaves frozen: {_in_modules(frozen)}")
    return lines


def _in_modules(sizes: dict[str, int]) -> str:
    return f"{_count(sum(sizes.values()))} parameters in {', '.join(_roots(sizes))}"


def _count(number: int) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)


def _roots(names: Iterable[str]) -> list[str]:
    """The topmost modules that parameters lie in; those of an adapter by what it adapts."""
    wrapped = ("base_model", "model", "language_model", "base_layer")
    found: dict[str, None] = {}
    for name in names:
        steps = [step for step in name.split(".") if step not in wrapped]
        root = steps[0] if len(steps) > 1 else name
        found.setdefault(f"LoRA of {root}" if ".lora_" in name else root, None)
    return list(found)


class Reporter:
    """Curves for TensorBoard, and W&B where asked; a bar on a terminal; lines for the log.

    Args:
        folder: curves go to its `tensorboard`.
        config: how often, and whether W&B is told.
        name: of the run.
        start: steps done before.
        log: takes lines.
        active: whether this process tells anything.

    Raises:
        PrerequisiteError: a package isn't installed.
    """

    def __init__(
        self, folder: Path, config: LoopConfig, *, name: str, start: int, log: Log, active: bool
    ) -> None:
        self._config, self._name, self._start, self._log = config, name, start, log
        self._began, self._total, self._logged = time.perf_counter(), 0.0, start
        self._tokens, self._active = 0, active
        self._writer: Any = None
        self._wandb: Any = None
        self._bar: Any = None
        if not active:
            return
        require("tensorboard", extra="align")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)
        self._wandb = _wandb_run(folder, config, name, start)
        self._bar = _bar(name, start, config.steps)

    def step(self, report: StepReport) -> None:
        """Tell of a step, in the curves at once, in the log now and then."""
        self._total += report.loss
        self._tokens += report.num_tokens
        if not self._active:
            return
        elapsed = time.perf_counter() - self._began
        curves = {
            "loss": report.loss,
            "gradient_norm": report.gradient_norm,
            "targets": report.num_targets,
            "tokens_per_second": self._tokens / elapsed,
            **{f"rate/{group}": rate for group, rate in report.rates.items()},
        }
        if torch.cuda.is_available():
            curves["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        for key, value in curves.items():
            self._writer.add_scalar(key, value, report.step)
        if self._wandb is not None:
            self._wandb.log(curves, step=report.step)
        if self._bar is not None:
            self._bar.update(0, completed=report.step, loss=report.loss)
        if report.step % self._config.log_every == 0:
            self._line(report.step, elapsed)

    def _line(self, done: int, elapsed: float) -> None:
        rate = (done - self._start) / elapsed
        left = (self._config.steps - done) / rate / 60
        mean = self._total / (done - self._logged)
        speed = f" {self._tokens / elapsed:.0f} tokens/s" if self._tokens else ""
        self._log(
            f"{self._name} step {done}/{self._config.steps} loss {mean:.4f}{speed} "
            f"{left:.0f} min left"
        )
        self._total, self._logged = 0.0, done

    def close(self) -> None:
        """Finish what was begun."""
        if self._bar is not None:
            self._bar.stop()
        if self._writer is not None:
            self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()


def _bar(name: str, start: int, steps: int) -> Any:
    """A bar on stderr; None where nobody would see it."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        "loss {task.fields[loss]:.4f}",
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task(name, total=steps, completed=start, loss=float("nan"))
    bar.start()
    return bar


def _wandb_run(folder: Path, config: LoopConfig, name: str, start: int) -> Any:
    if not config.wandb:
        return None
    if importlib.util.find_spec("wandb") is None:
        raise PrerequisiteError(
            "wandb is asked for and isn't installed",
            hint="Run: pip install wandb, or leave `wandb` empty: TensorBoard is always written",
        )
    wandb: Any = require("wandb")
    run = wandb.init(
        project=config.wandb,
        name=name,
        dir=str(folder),
        config=config.model_dump(),
        # A run that goes on draws on in its own curves; one before it may have kept no state.
        id=_kept_id(folder / WANDB_FILE) if start else None,
        resume="allow",
    )
    write_atomic(folder / WANDB_FILE, run.id.encode())
    return run


def _kept_id(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() or None if path.is_file() else None
