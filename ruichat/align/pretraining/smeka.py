"""SMEKA: one student learns from several frozen encoders how patches, CLS and slots relate.

What is taken from a teacher are likenesses within its own space, so teachers of any width serve.

Source:
    SHDMIC/RuiPath, stage RuiPath-Global.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from ruichat.align.pretraining.losses import exact, likenesses
from ruichat.config import Config
from ruichat.errors import ConfigError


class SmekaConfig(Config):
    """Weights of SMEKA's terms."""

    temperature: float = Field(0.1, gt=0)
    weight: float = Field(1.0, ge=0)
    """Of the sum of the three."""
    patches: float = Field(1.0, ge=0)
    """Patch to patch."""
    cls: float = Field(1.0, ge=0)
    """CLS to patches."""
    registers: float = Field(1.0, ge=0)
    """Register k to the CLS token of teacher k."""


@dataclass(frozen=True)
class Tokens:
    """What an encoder gives for n crops.

    Attributes:
        cls: of the crops.
        patches: on a square grid.
        registers: none for a teacher.
    """

    cls: Float[Tensor, "n d"]
    patches: Float[Tensor, "n p d"]
    registers: Float[Tensor, "n r d"] | None = None


@dataclass(frozen=True)
class SmekaTerms:
    """The three terms of each crop, weighted over the teachers."""

    patches: Float[Tensor, " n"]
    cls: Float[Tensor, " n"]
    registers: Float[Tensor, " n"]


class RegisterTargets(nn.Module):
    """Linear_k: the CLS token of teacher k in the student's width."""

    def __init__(self, teacher_dims: Sequence[int], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, width) for dim in teacher_dims)
        for layer in self.layers:
            nn.init.trunc_normal_(layer.weight, std=0.02)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, cls: Sequence[Tensor]) -> list[Tensor]:
        return [layer(one) for layer, one in zip(self.layers, cls, strict=True)]


def smeka_terms(
    student: Tokens,
    teachers: Sequence[Tokens],
    register_targets: Sequence[Float[Tensor, "n d"]],
    temperature: float,
) -> SmekaTerms:
    """The terms of each crop.

    Args:
        student: of the augmented crops; register k learns from teacher k.
        teachers: of the clean crops; they get no gradient.
        register_targets: their CLS tokens through Linear_k, which learns along.
        temperature: of every softmax.
    """
    assert student.registers is not None
    wanted = [_patch_logits(one.patches.detach(), temperature) for one in teachers]
    weights = torch.stack([-mean_entropy(logits) for logits in wanted], 1).softmax(1).detach()
    patches: list[Tensor] = []
    cls: list[Tensor] = []
    registers: list[Tensor] = []
    for k, teacher in enumerate(teachers):
        pooled = pool_grid(student.patches, teacher.patches.shape[1])
        patches.append(_divergence(_patch_logits(pooled, temperature), wanted[k]).mean(1))
        own = _cls_logits(student.cls, pooled, temperature)
        theirs = _cls_logits(teacher.cls.detach(), teacher.patches.detach(), temperature)
        cls.append(_divergence(own, theirs))
        slot = student.registers[:, k].float() / temperature
        registers.append(_divergence(slot, register_targets[k].float() / temperature))
    return SmekaTerms(
        *((torch.stack(term, 1) * weights).sum(1) for term in (patches, cls, registers))
    )


def smeka_loss(terms: SmekaTerms, config: SmekaConfig, num_crops: int) -> Float[Tensor, ""]:
    """The terms put together: mean over a tile's crops, summed over tiles."""
    total = (
        config.patches * terms.patches + config.cls * terms.cls + config.registers * terms.registers
    )
    return config.weight * total.sum() / num_crops


def mean_entropy(logits: Float[Tensor, "n p p"]) -> Float[Tensor, " n"]:
    """Mean over rows of the entropy of their softmax, 0 to 1: low where patches are told apart."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean(-1) / math.log(logits.shape[-1])


def pool_grid(patches: Float[Tensor, "n p d"], num: int) -> Float[Tensor, "n q d"]:
    """Patch tokens of a square grid, averaged onto the teacher's grid of `num` patches."""
    side, wanted = round(patches.shape[1] ** 0.5), round(num**0.5)
    image = patches.float().transpose(1, 2).unflatten(2, (side, side))
    return F.adaptive_avg_pool2d(image, (wanted, wanted)).flatten(2).transpose(1, 2)


def check_slots(num_teachers: int, num_registers: int) -> None:
    """Refuse a student that has fewer registers than teachers.

    Raises:
        ConfigError: it has.
    """
    if num_registers < num_teachers:
        raise ConfigError(
            f"{num_teachers} teachers need as many registers; the student has {num_registers}",
            hint="Set registers of the student's shape, or name fewer teachers",
        )


def _patch_logits(patches: Tensor, temperature: float) -> Tensor:
    return F.relu(likenesses(patches)) / temperature


def _cls_logits(cls: Tensor, patches: Tensor, temperature: float) -> Tensor:
    with exact(patches):
        cls = F.normalize(cls.float(), dim=-1)
        patches = F.normalize(patches.float(), dim=-1)
        return torch.einsum("nd,npd->np", cls, patches) / temperature


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) over the last axis."""
    log_q, log_p = student.log_softmax(-1), teacher.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)
