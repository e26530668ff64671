"""Stands in for DeepSpeed, which isn't installed where tests run: its calls, torch inside.

Gradients are averaged over processes and micro-batches, clipped, and the step is taken within the
backward at a boundary, as accelerate expects of an engine.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

VERSION = "0.18.0"

runtime = SimpleNamespace(lr_schedules=SimpleNamespace(VALID_LR_SCHEDULES=[]))


def _join(dist_backend: str, **_: Any) -> None:
    torch.distributed.init_process_group("gloo")


comm = SimpleNamespace(is_initialized=torch.distributed.is_initialized, init_distributed=_join)


class Engine(torch.nn.Module):
    """As DeepSpeedEngine."""

    def __init__(self, module: torch.nn.Module, optimizer: Any, config: dict[str, Any]) -> None:
        super().__init__()
        self.module, self.optimizer, self.config = module, optimizer, config
        self.boundary, self.norm = True, 0.0
        num, steps = torch.distributed.get_world_size(), config["gradient_accumulation_steps"]
        assert config["train_batch_size"] == config["train_micro_batch_size_per_gpu"] * num * steps

    def forward(self, *inputs: Any) -> Any:
        return self.module(*inputs)

    def set_gradient_accumulation_boundary(self, is_boundary: bool) -> None:
        self.boundary = is_boundary

    def backward(self, loss: torch.Tensor) -> None:
        (loss / self.config["gradient_accumulation_steps"]).backward()

    def step(self) -> None:
        assert self.boundary
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= torch.distributed.get_world_size()
        self.norm = torch.nn.utils.clip_grad_norm_(parameters, self.config["gradient_clipping"])
        self.optimizer.step()
        self.optimizer.zero_grad()

    def get_global_grad_norm(self) -> Any:
        return self.norm

    def save_checkpoint(self, folder: str, tag: str, **_: Any) -> None:
        rank = torch.distributed.get_rank()
        (Path(folder) / tag).mkdir(parents=True, exist_ok=True)
        state = {"module": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state, Path(folder) / tag / f"rank{rank}.pt")

    def load_checkpoint(self, folder: str, tag: str, **_: Any) -> None:
        rank = torch.distributed.get_rank()
        state = torch.load(Path(folder) / tag / f"rank{rank}.pt", weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])


def initialize(
    *, model: Any, config_params: dict[str, Any], optimizer: Any, **_: Any
) -> tuple[Any, Any, None, None]:
    """As deepspeed.initialize."""
    engine = Engine(model, optimizer, config_params)
    return engine, optimizer, None, None


def install(folder: Path) -> Path:
    """A folder for PYTHONPATH in which this module is the package deepspeed."""
    package, info = folder / "deepspeed", folder / f"deepspeed-{VERSION}.dist-info"
    for path in (package, info):
        path.mkdir(parents=True)
    (package / "__init__.py").write_text(Path(__file__).read_text(encoding="utf-8"))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: deepspeed\nVersion: {VERSION}\n")
    return folder
