"""Heads that turn tokens into logits over prototypes."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from ruichat.config import Config


class HeadConfig(Config):
    """Shape of a head."""

    prototypes: int = Field(65536, gt=1)
    hidden: int = Field(2048, gt=0)
    bottleneck: int = Field(256, gt=0)
    layers: int = Field(3, ge=1)
    """Of the perceptron before the prototypes."""
    unit_prototypes: bool = True
    """Whether prototypes are of length one, as in DINO; DINOv3 lets them grow."""


class PrototypeHead(nn.Module):
    """A perceptron onto the unit sphere, and the likeness to each prototype there.

    Source:
        DINO, Caron et al. 2021, arXiv:2104.14294: GELU, no norm, last layer weight-normed with
        its lengths held at one. Weights start from a normal of .02 cut at two, as there.
    """

    def __init__(self, width: int, config: HeadConfig) -> None:
        super().__init__()
        hidden = [config.hidden] * (config.layers - 1)
        parts: list[nn.Module] = []
        for wide, narrow in pairwise([width, *hidden, config.bottleneck]):
            parts += [nn.Linear(wide, narrow), nn.GELU()]
        self.perceptron = nn.Sequential(*parts[:-1])
        self.prototypes = nn.Linear(config.bottleneck, config.prototypes, bias=False)
        self._unit = config.unit_prototypes
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if "bias" in dict(module.named_parameters()):
                    nn.init.zeros_(module.bias)

    def forward(self, tokens: Float[Tensor, "n d"], *, held: bool = False) -> Float[Tensor, "n p"]:
        """Logits.

        Args:
            tokens: any.
            held: the prototypes get a gradient of zero: early in training they would follow
                every batch.
        """
        return self.logits(self.directions(tokens), held=held)

    def directions(self, tokens: Float[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        """Unit vectors that are compared with the prototypes."""
        return F.normalize(self.perceptron(tokens), dim=-1, eps=1e-6)

    def logits(
        self, directions: Float[Tensor, "n r"], *, held: bool = False
    ) -> Float[Tensor, "n p"]:
        """Likeness to each prototype."""
        weight = self.prototypes.weight
        if held:
            # Detached but still used: processes that exchange gradients want one of each.
            weight = weight + (weight.detach() - weight)
        return F.linear(directions, F.normalize(weight, dim=-1) if self._unit else weight)
