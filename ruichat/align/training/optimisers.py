"""Which optimiser trains what, at which rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ruichat.align.training.settings import Group, LoopConfig
from ruichat.errors import ConfigError

REST = "rest"
"""Name of the group of whatever is in no other."""


@dataclass(frozen=True)
class Part:
    """One group under one optimiser.

    Attributes:
        group: its name.
        optimiser: name of the optimiser.
        learning_rate: highest rate.
        names: of its parameters.
    """

    group: str
    optimiser: str
    learning_rate: float
    names: tuple[str, ...]


def divide(trained: nn.Module, config: LoopConfig, groups: Sequence[Group] = ()) -> list[Part]:
    """Every parameter that asks for a gradient in exactly one part; empty parts left out.

    Raises:
        ConfigError: nothing asks for a gradient, or a group holds nothing.
    """
    by_part: dict[tuple[str, str], list[str]] = {}
    rates = {REST: config.learning_rate} | {group.name: group.learning_rate for group in groups}
    for name, parameter in trained.named_parameters():
        if not parameter.requires_grad:
            continue
        fits = (group.name for group in groups if any(part in name for part in group.parts))
        is_hidden = config.optimiser == "muon" and ".layers." in name and parameter.ndim == 2
        key = ("muon" if is_hidden else "adamw", next(fits, REST))
        by_part.setdefault(key, []).append(name)
    if not by_part:
        raise ConfigError("nothing asks for a gradient", hint="Let this stage train something")
    empty = [group.name for group in groups if group.name not in {key[1] for key in by_part}]
    if empty:
        raise ConfigError(
            f"nothing of {', '.join(empty)} trains", hint="Leave the group's rate out"
        )
    return [
        Part(group, optimiser, rates[group], tuple(names))
        for (optimiser, group), names in sorted(by_part.items())
    ]


def build_optimisers(
    trained: nn.Module, config: LoopConfig, groups: Sequence[Group] = ()
) -> list[torch.optim.Optimizer]:
    """AdamW for whatever asks for a gradient; with "muon", Muon for decoder matrices.

    Source:
        Muon: Jordan et al. 2024; its rate is scaled to AdamW's as in Liu et al. 2025,
        arXiv:2502.16982, so that one rate serves both.
    """
    wanted = dict(trained.named_parameters())
    parts = divide(trained, config, groups)
    options: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        # Single numbers apart: where weights are divided these aren't, and no kernel takes both.
        for single in (False, True):
            own = [wanted[name] for name in part.names if (wanted[name].ndim == 0) == single]
            settings = {"params": own, "lr": part.learning_rate, "group": part.group}
            if own:
                options.setdefault(part.optimiser, []).append(settings)
    made: list[torch.optim.Optimizer] = []
    if found := options.get("adamw"):
        made.append(
            torch.optim.AdamW(
                found, weight_decay=config.weight_decay, betas=(0.9, 0.98), fused=True
            )
        )
    if found := options.get("muon"):
        made.append(
            torch.optim.Muon(
                found, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        )
    return made


def build_schedules(
    optimisers: Sequence[torch.optim.Optimizer], config: LoopConfig
) -> list[torch.optim.lr_scheduler.OneCycleLR]:
    """Every group's rate rises and falls over the run."""
    return [
        torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            [float(group["lr"]) for group in optimiser.param_groups],
            total_steps=config.steps,
            # At least two steps of rise: OneCycleLR divides by one less than that.
            pct_start=max(config.warmup, min(1.0, 2 / config.steps)),
            cycle_momentum=False,
        )
        for optimiser in optimisers
    ]
