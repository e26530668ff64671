"""Stain perturbation in optical density: what differs between laboratories, and nothing else."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ruichat.config import Config

HE_VECTORS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of hematoxylin, eosin and residual. Source: Ruifrok & Johnston 2001."""


class StainConfig(Config):
    """How strongly stains are perturbed."""

    concentration: float = 0.25
    """Standard deviation of the log of each stain's factor."""
    vector: float = 0.06
    """Standard deviation added to each component of the stain vectors."""
    offset: float = 0.03
    """Standard deviation of optical density added per channel: background and exposure."""


def perturb_stain(
    rgb: Float[Tensor, "n 3 h w"], config: StainConfig, generator: torch.Generator
) -> Float[Tensor, "n 3 h w"]:
    """Give each tile another laboratory's stain.

    Args:
        rgb: intensities in 0..1.

    Returns:
        Perturbed intensities in 0..1.

    Source:
        After the optical-density perturbation of SHDMIC/RuiPath. Ours: the stain vectors vary
        too, and each tile draws its own factors.
    """
    n = rgb.shape[0]
    basis = torch.tensor(HE_VECTORS)
    basis = basis / basis.norm(dim=1, keepdim=True)
    other = basis + config.vector * torch.randn(n, 3, 3, generator=generator)
    other = other / other.norm(dim=2, keepdim=True)
    factor = torch.exp(config.concentration * torch.randn(n, 3, 1, generator=generator))
    # One matrix per tile: to concentrations, scaled, and back through its own stain vectors.
    matrix = torch.linalg.inv(basis) @ (factor * other)
    density = -torch.log(rgb.clamp_min(1 / 255))
    density = torch.einsum("nchw,ncd->ndhw", density, matrix)
    density = density + config.offset * torch.randn(n, 3, 1, 1, generator=generator)
    return torch.exp(-density).clamp(0, 1)
