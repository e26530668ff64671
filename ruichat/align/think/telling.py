"""What a run of the trainer keeps and tells: whole states, rewards as they come."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ruichat.align.intervals import Interval, interval_of
from ruichat.align.loop import Log
from ruichat.align.think.rewards import NAMES
from ruichat.errors import ConfigError
from ruichat.storage.artifacts import write_atomic


class States(TrainerCallback):
    """Kept states of a run: one counts once it is whole, and only under the same settings.

    Args:
        folder: of the run.
        settings: fingerprint.
    """

    _mark = "whole.txt"

    def __init__(self, folder: Path, settings: str) -> None:
        self._folder, self._settings = folder, settings

    def newest(self) -> Path | None:
        """The newest whole state; those that were never finished are removed.

        For the main process alone, while no other run is in the folder.

        Raises:
            ConfigError: the run there was begun with other settings.
        """
        found = sorted(self._folder.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
        whole: Path | None = None
        for state in found:
            mark = state / self._mark
            if not mark.is_file():
                shutil.rmtree(state, ignore_errors=True)
            elif mark.read_text(encoding="utf-8") != self._settings:
                raise ConfigError(
                    f"{self._folder} holds a run with other settings",
                    hint="Give another folder with --out, or the settings it was begun with",
                )
            else:
                whole = state
        return whole

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Everything of a state is written: from now on it counts."""
        if state.is_world_process_zero:
            path = self._folder / f"checkpoint-{state.global_step}" / self._mark
            write_atomic(path, self._settings.encode())


class Telling(TrainerCallback):
    """Tells rewards as they come; those of held-out questions are written down.

    Args:
        log: takes lines.
        path: of the file for held-out questions, one JSON object to a line.
        earned: what each of them earned when it was last asked.
        settings: fingerprint of the run, which each line keeps.
    """

    def __init__(self, log: Log, path: Path, earned: Mapping[str, float], settings: str) -> None:
        self._log, self._path, self._earned, self._settings = log, path, earned, settings

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """One line per report."""
        if not state.is_world_process_zero or not logs:
            return
        start = "eval_" if "eval_reward" in logs else ""
        if f"{start}reward" not in logs:
            return
        parts = [f"{name} {logs[f'{start}rewards/{name}/mean']:.3f}" for name in NAMES]
        of = "held-out questions" if start else f"step {state.global_step}/{state.max_steps}"
        self._log(f"think {of}: reward {logs[f'{start}reward']:.3f} ({', '.join(parts)})")
        if start:
            earned = {name: logs[f"{start}rewards/{name}/mean"] for name in NAMES}
            self._note({"step": state.global_step, "reward": logs[f"{start}reward"], **earned})

    def _note(self, scores: Mapping[str, float]) -> None:
        """Write down what the held-out questions earned, and tell what that is beside the first."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = {"settings": self._settings, **scores, "earned": dict(self._earned)}
        first = self._first()
        if first is not None:
            rise = self._rise(first)
            line["rise"] = vars(rise)
            self._log(
                f"think held-out questions: {rise.mean:+.3f} ({rise.low:+.3f} to "
                f"{rise.high:+.3f}) since the first time"
            )
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _first(self) -> Mapping[str, float] | None:
        """What was earned when this run asked first; runs of other settings may lie before it."""
        if not self._path.is_file():
            return None
        with self._path.open(encoding="utf-8") as file:
            # A run that was killed while it wrote leaves half a line.
            lines = (json.loads(text) for text in file if text.endswith("}\n"))
            mine = (line["earned"] for line in lines if line.get("settings") == self._settings)
            return next(mine, None)

    def _rise(self, before: Mapping[str, float]) -> Interval:
        """How much more they earn, each beside itself."""
        return interval_of(np.array([now - before[name] for name, now in self._earned.items()]))
