"""DeepSpeed under the loop, by accelerate: gradients and moments divided as in ZeRO 1 and 2.

DeepSpeed exchanges gradients, clips them and takes the step within a backward, the last one of a
step; the loop looks at the loss before that. Rates stay the loop's own.

Source:
    accelerate's guide to DeepSpeed; Rajbhandari et al. 2020, arXiv:1910.02054.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ruichat.align.training.processes import Processes
from ruichat.align.training.settings import LoopConfig
from ruichat.errors import ArtifactError, ConfigError

ZERO_DIR = "zero"
"""Of accelerate's own files in the folder of a state."""

_LEFT_OUT = {
    "optimizer": "Leave it out: training.optimiser says it",
    "scheduler": "Leave it out: training.warmup says it",
    "fp16": "Leave it out: training.precision says how matrices are multiplied",
    "bf16": "Leave it out: training.precision says how matrices are multiplied",
}
"""Parts of a DeepSpeed config that the stage's settings decide, and what to do."""

STAGES = (0, 1, 2)
"""Of ZeRO. The third divides weights, which FSDP2 does here: ours are also read outside of the
modules that hold them, where DeepSpeed wouldn't gather them."""


def check_config(config: dict[str, Any]) -> None:
    """Refuse what the loop doesn't do under DeepSpeed.

    Raises:
        ConfigError: naming the field.
    """
    for name, hint in _LEFT_OUT.items():
        found = config.get(name)
        off = isinstance(found, dict) and found.get("enabled", True) in (False, "auto")
        if found is not None and not off:
            raise ConfigError(f"the DeepSpeed config has {name!r}", hint=hint)
    stage = config.get("zero_optimization", {}).get("stage", 0)
    if stage not in STAGES:
        raise ConfigError(
            f"the DeepSpeed config asks for ZeRO stage {stage}; allowed: 0, 1, 2",
            hint="Divide weights with FSDP2: accelerate launch --use_fsdp --fsdp_version 2",
        )


class ZeroEngine:
    """A module and its optimiser in DeepSpeed's hands.

    Args:
        objective: gives the loss of a micro-batch.
        optimisers: of it; one.
        config: of the loop.
        num_parts: micro-batches of a step in each process.

    Raises:
        ConfigError: DeepSpeed's config says what the loop decides, or there are two optimisers.
    """

    def __init__(
        self,
        objective: nn.Module,
        optimisers: Sequence[torch.optim.Optimizer],
        config: LoopConfig,
        num_parts: int,
    ) -> None:
        from accelerate import Accelerator, DeepSpeedPlugin

        if len(optimisers) != 1:
            raise ConfigError(
                "DeepSpeed takes one optimiser, and muon goes along with a second",
                hint="Set training.optimiser: adamw",
            )
        plugin: Any = DeepSpeedPlugin()
        check_config(plugin.deepspeed_config)
        plugin.deepspeed_config |= {
            # Of rows, which only its own reports read.
            "train_micro_batch_size_per_gpu": 1,
            "train_batch_size": "auto",
            "gradient_accumulation_steps": num_parts,
            "gradient_clipping": config.clip,
        }
        self._num_parts = num_parts
        self._accelerator: Any = Accelerator(
            deepspeed_plugins=plugin,
            mixed_precision="no",
            gradient_accumulation_steps=num_parts,
        )
        self._optimiser = optimisers[0]
        try:
            self._engine, self._theirs = self._accelerator.prepare(objective, self._optimiser)
        except ValueError as error:
            raise ConfigError(
                f"DeepSpeed can't be started: {error}",
                hint="Correct the file in accelerate's config",
            ) from error

    def forward(self, content: Any) -> Tensor:
        """Sum of the loss over a micro-batch's targets."""
        return self._engine(content)

    def backward(self, loss: Tensor) -> None:
        """Of one micro-batch; with a step's last one the weights change."""
        # DeepSpeed takes the mean over the micro-batches.
        with self._accelerator.accumulate(self._engine):
            self._accelerator.backward(loss * self._num_parts)

    def norm(self) -> float:
        """Of the last step's gradient before it was clipped."""
        return float(self._accelerator.deepspeed_engine_wrapped.get_global_grad_norm())

    def take_rates(self) -> None:
        """Use the rates that the loop's schedule has set."""
        ours, theirs = self._optimiser.param_groups, self._theirs.param_groups
        for own, other in zip(ours, theirs, strict=True):
            other["lr"] = own["lr"]

    def save(self, folder: Path) -> None:
        """Write what each process holds; every process must."""
        self._accelerator.save_state(str(folder / ZERO_DIR))

    def load(self, folder: Path) -> None:
        """Go on from there.

        Raises:
            ArtifactError: the state is of another way of dividing weights.
        """
        if not (folder / ZERO_DIR).is_dir():
            raise ArtifactError(
                f"{folder} was kept without DeepSpeed",
                hint="Go on without it, or give another folder with --out",
            )
        self._accelerator.load_state(str(folder / ZERO_DIR))


def parts_of_each(num: int, processes: Processes) -> int:
    """Micro-batches of a step in each process.

    Raises:
        ConfigError: they can't be dealt evenly.
    """
    if num % processes.num:
        raise ConfigError(
            f"a step has {num} micro-batches for {processes.num} processes; allowed under "
            "DeepSpeed: a multiple of them",
            hint="Start fewer processes, or set more micro-batches to a step",
        )
    return num // processes.num
