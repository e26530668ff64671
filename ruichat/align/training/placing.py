"""A module spread over the processes: copied to each (DDP), or divided among them (FSDP2)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from ruichat.align.training.processes import Processes
from ruichat.align.training.settings import LoopConfig

T = TypeVar("T")


class Objective(nn.Module, Generic[T]):
    """What is trained and its loss as one module, so that a wrapper sees every forward.

    Args:
        trained: holds the parameters.
        loss_of: sum of the loss over a micro-batch's targets.
        device: for autocast.
        config: precision.
    """

    def __init__(
        self,
        trained: nn.Module,
        loss_of: Callable[[T], Tensor],
        device: torch.device,
        config: LoopConfig,
    ) -> None:
        super().__init__()
        self.trained = trained
        self._loss_of = loss_of
        self._device = device
        self._half = config.precision == "bf16"

    def forward(self, content: T) -> Tensor:
        """Sum of the loss over the targets."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            return self._loss_of(content)


@dataclasses.dataclass(frozen=True)
class Placed(Generic[T]):
    """A module that is ready to be trained.

    Attributes:
        trained: the module itself; its parameters are DTensors where they are divided.
        forward: sum of the loss over a micro-batch's targets.
        apart: entered for every micro-batch but a process's last of a step, so that gradients
            are exchanged once.
    """

    trained: nn.Module
    forward: Callable[[T], Tensor]
    apart: Callable[[], AbstractContextManager[Any]]


def place(
    trained: nn.Module,
    loss_of: Callable[[T], Tensor],
    config: LoopConfig,
    processes: Processes,
) -> Placed[T]:
    """Put a module on the processes' devices, in the launch's layout."""
    trained.to(processes.device)
    objective = Objective(trained, loss_of, processes.device, config)
    if processes.layout == "alone":
        return Placed(trained, objective, contextlib.nullcontext)
    if processes.layout == "shards":
        shard(objective, config, processes)
        return Placed(trained, objective, contextlib.nullcontext)
    wrapped = DistributedDataParallel(
        objective,
        device_ids=None if processes.device.type == "cpu" else [processes.device],
        broadcast_buffers=False,
        find_unused_parameters=True,
    )
    return Placed(trained, wrapped, wrapped.no_sync)


def shard(objective: nn.Module, config: LoopConfig, processes: Processes) -> None:
    """Divide every block of a model, then the rest, over the processes."""
    mesh = init_device_mesh(processes.device.type, (processes.num,))
    half = config.precision == "bf16"
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if half else None,
        reduce_dtype=torch.float32 if half else None,
    )
    for block in _blocks(objective):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(objective, mesh=mesh, mp_policy=policy)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists of modules: a decoder's or a vision model's layers."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (one for one in child if any(True for _ in one.parameters()))
        else:
            yield from _blocks(child)


def to_device(content: T, device: torch.device) -> T:
    """Tensors in dataclasses, dicts, lists and tuples on a device; all else as it is."""
    value: Any = content
    if isinstance(value, Tensor):
        return cast(T, value.to(device, non_blocking=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {f.name: to_device(getattr(value, f.name), device) for f in dataclasses.fields(value)}
        return cast(T, dataclasses.replace(value, **own))
    if isinstance(value, Mapping):
        return cast(T, {key: to_device(one, device) for key, one in value.items()})
    if isinstance(value, list | tuple):
        return cast(T, type(value)(to_device(one, device) for one in value))
    return content


def whole(value: Any) -> Any:
    """A tensor gathered from all processes, on the CPU; every process must ask for it."""
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu() if isinstance(value, Tensor) else value


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor as a parameter of its shape lies: on its device, or divided as it is."""
    value = value.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return value
    return distribute_tensor(value, parameter.device_mesh, parameter.placements)
