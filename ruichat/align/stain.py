"""Stain perturbation in optical density: what differs between laboratories, and nothing else."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from ruichat.config import Config

HE_VECTORS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of hematoxylin, eosin and residual. Source: Ruifrok & Johnston 2001."""

RUIPATH_VECTORS = ((0.71, 0.65, 0.27), (0.0, 0.69, 0.724))
"""Optical density of hematoxylin and eosin. Source: SHDMIC/RuiPath."""


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
    offset = config.offset * torch.randn(n, 3, 1, 1, generator=generator)
    return change_density(rgb, matrix.to(rgb.device), offset.to(rgb.device))


class ConcentrationConfig(Config):
    """How strongly the amounts of hematoxylin and eosin are perturbed, and nothing else."""

    sigma: float = Field(0.15, ge=0)
    """Standard deviation of the log of each stain's factor."""
    within: float = Field(1.96, gt=0)
    """Factors beyond that many `sigma` become 1: what no laboratory makes isn't shown."""


def draw_concentrations(
    n: int, config: ConcentrationConfig, generator: torch.Generator
) -> Float[Tensor, "n 2"]:
    """Factors of hematoxylin and eosin for n tiles.

    Source:
        SHDMIC/RuiPath: log-normal, .15, outside e^(+-1.96 sigma) reset to 1.
    """
    log = config.sigma * torch.randn(n, 2, generator=generator)
    return torch.where(log.abs() > config.within * config.sigma, torch.zeros_like(log), log).exp()


def scale_concentrations(
    rgb: Float[Tensor, "n 3 h w"], factors: Float[Tensor, "n 2"]
) -> Float[Tensor, "n 3 h w"]:
    """Multiply the amounts of hematoxylin and eosin in each tile.

    Args:
        rgb: intensities in 0..1.
        factors: of the two stains; 1 leaves a tile as it is.

    Source:
        SHDMIC/RuiPath. There the stain vectors are fitted to each tile in 100 steps, and density
        that the two don't explain is dropped; here they stay, and such density is kept: the
        third axis is normal to both, so the amounts are those of least squares.
    """
    basis = torch.tensor(RUIPATH_VECTORS, device=rgb.device)
    basis = torch.cat([basis, torch.linalg.cross(basis[:1], basis[1:])])
    basis = basis / basis.norm(dim=1, keepdim=True)
    scale = torch.cat([factors, torch.ones_like(factors[:, :1])], 1).to(rgb.device)
    return change_density(rgb, torch.linalg.inv(basis) @ (scale[:, :, None] * basis))


def change_density(
    rgb: Float[Tensor, "n 3 h w"],
    matrix: Float[Tensor, "n 3 3"],
    offset: Float[Tensor, "n 3 1 1"] | None = None,
) -> Float[Tensor, "n 3 h w"]:
    """Intensities whose optical density went through one matrix per tile.

    Args:
        rgb: intensities in 0..1; black counts as one step of a byte.
        matrix: multiplied from the right.
        offset: density added behind it.
    """
    density = -torch.log(rgb.clamp_min(1 / 255))
    density = torch.einsum("nchw,ncd->ndhw", density, matrix)
    if offset is not None:
        density = density + offset
    return torch.exp(-density).clamp(0, 1)
