"""A module spread over the processes: copied to each (DDP), or divided among them (FSDP2)."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
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

_SYNC = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)
"""DDP's switch for copying buffers at every forward; torch renamed it."""


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
        whole: trained parameters that every process holds though the others are divided; their
            gradients are exchanged by `exchange`.
    """

    trained: nn.Module
    forward: Callable[[T], Tensor]
    apart: Callable[[], AbstractContextManager[Any]]
    whole: tuple[nn.Parameter, ...] = ()


def place(
    trained: nn.Module,
    loss_of: Callable[[T], Tensor],
    config: LoopConfig,
    processes: Processes,
) -> Placed[T]:
    """Put a module on the processes' devices, in the launch's layout."""
    objective = Objective(trained, loss_of, processes.device, config)
    if processes.layout == "shards":
        whole = shard(objective, config, processes)
        return Placed(trained, objective, contextlib.nullcontext, whole)
    trained.to(processes.device)
    if processes.layout in ("alone", "zero"):
        return Placed(trained, objective, contextlib.nullcontext)
    no_copies: dict[str, Any] = {_SYNC: False}
    wrapped = DistributedDataParallel(
        objective,
        device_ids=None if processes.device.type == "cpu" else [processes.device],
        find_unused_parameters=True,
        **no_copies,
    )
    return Placed(trained, wrapped, wrapped.no_sync)


def shard(
    objective: nn.Module, config: LoopConfig, processes: Processes
) -> tuple[nn.Parameter, ...]:
    """Divide every block of a model, then the rest, over the processes.

    A block is moved to the device and divided before the next: no device ever holds all.

    Returns:
        What trains and can't be divided: single numbers.
    """
    mesh = init_device_mesh(processes.device.type, (processes.num,))
    half = config.precision == "bf16"
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if half else None,
        reduce_dtype=torch.float32 if half else None,
    )
    single = {p for p in objective.parameters() if p.ndim == 0 or not p.is_floating_point()}
    for block in _blocks(objective):
        fully_shard(block, mesh=mesh, mp_policy=policy, ignored_params=single)
    fully_shard(objective, mesh=mesh, mp_policy=policy, ignored_params=single)
    for parameter in single:
        parameter.data = parameter.data.to(processes.device)
    return tuple(p for p in objective.parameters() if p in single and p.requires_grad)


def exchange(placed: Placed[Any], processes: Processes) -> None:
    """Take the mean of those gradients that no wrapper exchanges."""
    for parameter in placed.whole:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= processes.num


def clip(parameters: Sequence[nn.Parameter], largest: float, processes: Processes) -> float:
    """Scale gradients down to a norm; the norm that they had."""
    grads = [p.grad for p in parameters if p.grad is not None]
    divided = [grad.to_local() for grad in grads if isinstance(grad, DTensor)]
    if not divided:
        return float(nn.utils.clip_grad_norm_(parameters, largest))
    squares = processes.sums([sum(float(grad.float().square().sum()) for grad in divided)])[0]
    others = [grad for grad in grads if not isinstance(grad, DTensor)]
    norm = (squares + sum(float(grad.float().square().sum()) for grad in others)) ** 0.5
    factor = min(1.0, largest / (norm + 1e-6))
    for grad in (*divided, *others):
        grad.mul_(factor)
    return norm


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
