"""The one training loop: every language stage hands it a model, what trains, and its batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn

from ruichat.config import Config

Log = Callable[[str], None]


class LoopConfig(Config):
    """Steps and optimiser of one stage."""

    steps: int = Field(ge=3)
    """The rate has to rise and to fall: `OneCycleLR` divides by zero without room for both."""
    learning_rate: float
    optimiser: Literal["adamw", "muon"] = "adamw"
    """What trains the matrices of decoder layers; all else is always AdamW's."""
    warmup: float = 0.05
    """Share of the steps over which the rate rises."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest gradient norm."""
    log_every: int = 50
    checkpoint_every: int = 200


@runtime_checkable
class Carried(Protocol):
    """What a stage carries from step to step beside its weights."""

    def state_dict(self) -> dict[Any, Any]:
        """Plain values that a checkpoint can hold."""
        ...

    def load_state_dict(self, state: dict[Any, Any]) -> None:
        """Go on from what `state_dict` gave."""
        ...


def build_optimisers(trained: nn.Module, config: LoopConfig) -> list[torch.optim.Optimizer]:
    """AdamW for whatever asks for a gradient; with "muon", Muon for decoder matrices.

    Source:
        Muon: Jordan et al. 2024; its rate is scaled to AdamW's as in Liu et al. 2025,
        arXiv:2502.16982, so that one rate serves both.
    """
    wanted = {name: p for name, p in trained.named_parameters() if p.requires_grad}
    hidden = [p for name, p in wanted.items() if ".layers." in name and p.ndim == 2]
    if config.optimiser == "adamw" or not hidden:
        hidden = []
    of_hidden = {id(p) for p in hidden}
    rest = [p for p in wanted.values() if id(p) not in of_hidden]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            rest,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
            fused=True,
        )
    ]
    if hidden:
        optimisers.append(
            torch.optim.Muon(
                hidden,
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return optimisers


def run_loop(
    trained: nn.Module,
    loss_of_step: Callable[[int], Tensor],
    config: LoopConfig,
    checkpoint: Path,
    *,
    name: str,
    log: Log,
    carried: Carried | None = None,
) -> None:
    """Train what of `trained` asks for a gradient, going on from `checkpoint` if it is there.

    Args:
        trained: holds the parameters, and the state that a checkpoint keeps.
        loss_of_step: loss of one batch; must depend on the step number and `carried` alone, so
            that a resumed run sees what an unbroken one would have seen.
        checkpoint: file for weights, optimiser and step; removed by nobody, small.
        carried: what `loss_of_step` changes, kept in the checkpoint too.
    """
    parameters = [p for p in trained.parameters() if p.requires_grad]
    optimisers = build_optimisers(trained, config)
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            config.learning_rate,
            total_steps=config.steps,
            # At least two steps of rise: OneCycleLR divides by one less than that.
            pct_start=max(config.warmup, min(1.0, 2 / config.steps)),
            cycle_momentum=False,
        )
        for optimiser in optimisers
    ]
    start = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        trained.load_state_dict(state["model"])
        for part, kept in zip([*optimisers, *schedules], state["optimisers"], strict=True):
            part.load_state_dict(kept)
        if carried is not None and "carried" in state:
            carried.load_state_dict(state["carried"])
        start = int(state["step"])
        log(f"{name}: going on from step {start}")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    trained.train()
    began, total, logged = time.perf_counter(), 0.0, start
    for step in range(start, config.steps):
        # Dropout, too, depends on the step alone.
        torch.manual_seed(step)
        loss = loss_of_step(step)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, config.clip)
        for part in [*optimisers, *schedules]:
            part.step()
        trained.zero_grad(set_to_none=True)
        total += float(loss.detach())
        done = step + 1
        if done % config.log_every == 0:
            rate = (done - start) / (time.perf_counter() - began)
            left = (config.steps - done) / rate / 60
            mean = total / (done - logged)
            log(f"{name} step {done}/{config.steps} loss {mean:.4f} {left:.0f} min left")
            total, logged = 0.0, done
        if done % config.checkpoint_every == 0 or done == config.steps:
            state = {
                "model": trained.state_dict(),
                "optimisers": [part.state_dict() for part in [*optimisers, *schedules]],
                "step": done,
            }
            if carried is not None:
                state["carried"] = carried.state_dict()
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
    trained.eval()
