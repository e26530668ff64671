"""The processes of a launch: how many there are, what each computes on, what they tell each other.

accelerate and torchrun say it through the environment; a launch that asked for several processes
and got lone ones is refused, since each would train on everything and write over the others.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

from ruichat.errors import ConfigError, PrerequisiteError
from ruichat.registry import require

Layout = Literal["alone", "copies", "shards", "zero"]
"""One process; every process with all weights (DDP); weights divided among them (FSDP2); gradients
and moments divided among them (DeepSpeed)."""

T = TypeVar("T")

_COUNTS = (
    "WORLD_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
)
"""How launchers tell a process how many there are."""


@dataclass(frozen=True)
class Processes:
    """One process's view of a launch.

    Attributes:
        rank: its number, from 0.
        num: how many there are.
        device: what it computes on.
        layout: how weights lie.
    """

    rank: int
    num: int
    device: torch.device
    layout: Layout

    @property
    def is_main(self) -> bool:
        """Whether this one writes and prints."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """What of a global batch this process takes."""
        return items[self.rank :: self.num]

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each number summed over the processes."""
        if self.num == 1:
            return list(values)
        table = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(table)
        return table.tolist()

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all processes, in their order."""
        if self.num == 1:
            return list(items)
        found: list[Any] = [None] * self.num
        torch.distributed.all_gather_object(found, list(items))
        return [item for part in found for item in part]

    def agree(self, value: T) -> T:
        """What the main process says."""
        if self.num == 1:
            return value
        box: list[Any] = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]


def start_processes() -> Processes:
    """Join the launch that started this process; alone where none did.

    Raises:
        ConfigError: a launcher asked for several processes and this one is alone, or for a way
            of dividing weights that isn't known.
        PrerequisiteError: accelerate, or what its config asks for, isn't installed.
    """
    require("accelerate", extra="align")
    from accelerate import PartialState

    environment = dict(os.environ)
    layout = wanted_layout(environment)
    state = PartialState(cpu=_is_set(environment, "ACCELERATE_USE_CPU"))
    num = int(state.num_processes)
    check_launch(environment, num)
    return Processes(
        rank=int(state.process_index),
        num=num,
        device=state.device or torch.device("cpu"),
        layout="alone" if num == 1 and layout != "zero" else layout,
    )


def check_launch(environment: Mapping[str, str], num: int) -> None:
    """Refuse to be one of several lone processes, or the only one of those asked for.

    Args:
        environment: as the launcher left it.
        num: processes that found each other.

    Raises:
        ConfigError: naming what the launcher said.
    """
    if num > 1:
        return
    hint = (
        "Start them with: torchrun --nproc_per_node N -m ruichat align ..., on a CPU with "
        "ACCELERATE_USE_CPU=1 before it"
    )
    told = next((name for name in _COUNTS if int(environment.get(name) or 1) > 1), None)
    if told is not None:
        raise ConfigError(
            f"{told} says that {environment[told]} processes were started, but this one is alone",
            hint=hint,
        )
    # accelerate names a meeting point as soon as several processes are asked for; on a CPU it
    # then starts one all the same.
    lone = "WORLD_SIZE" not in environment and "MASTER_ADDR" in environment
    if lone and "ACCELERATE_MIXED_PRECISION" in environment:
        raise ConfigError("accelerate was asked for several processes and started one", hint=hint)


def wanted_layout(environment: Mapping[str, str]) -> Layout:
    """How accelerate's config wants weights to lie on several processes.

    Raises:
        PrerequisiteError: it asks for DeepSpeed, which isn't installed.
        ConfigError: it asks for what this loop doesn't do.
    """
    if _is_set(environment, "ACCELERATE_USE_DEEPSPEED"):
        if importlib.util.find_spec("deepspeed") is None:
            raise PrerequisiteError(
                "accelerate's config asks for DeepSpeed, which isn't installed",
                hint="Run: pip install 'ruichat[deepspeed]'; or choose FSDP, version 2, in "
                "accelerate config: it divides weights, gradients and optimiser",
            )
        return "zero"
    if _is_set(environment, "ACCELERATE_USE_MEGATRON_LM"):
        raise ConfigError("Megatron-LM isn't used here", hint="Choose FSDP, version 2")
    if not _is_set(environment, "ACCELERATE_USE_FSDP"):
        return "copies"
    version = environment.get("FSDP_VERSION", "1")
    if version != "2":
        raise ConfigError(
            f"accelerate's config asks for FSDP version {version}; allowed: 2",
            hint="Set fsdp_version: 2 in its config, or give --fsdp_version 2",
        )
    return "shards"


def _is_set(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in ("1", "true", "yes", "on")
