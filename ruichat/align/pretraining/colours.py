"""Colour distortions of many crops at once, each with its own strength; on any device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from ruichat.align.stain import ConcentrationConfig, draw_concentrations, scale_concentrations
from ruichat.config import Config

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green, blue in brightness. Source: ITU-R BT.601."""

_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
"""Source: NTSC 1953. Turning I and Q turns the hue without a detour through HSV."""


class ColourConfig(Config):
    """How colours of one kind of crop are distorted."""

    jitter: float = Field(0.8, ge=0, le=1)
    """Share of crops whose brightness, contrast, saturation and hue are changed."""
    brightness: float = Field(0.4, ge=0, lt=1)
    """Factors are drawn from 1 - x to 1 + x; the same for the next two."""
    contrast: float = Field(0.4, ge=0, lt=1)
    saturation: float = Field(0.2, ge=0, lt=1)
    hue: float = Field(0.1, ge=0, le=0.5)
    """Largest turn, in turns of the colour circle."""
    grey: float = Field(0.2, ge=0, le=1)
    """Share of crops without colour."""
    blur: float = Field(0.5, ge=0, le=1)
    """Share of blurred crops."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """In pixels."""
    stain: ConcentrationConfig | None = None
    """Perturbs stain concentrations of every crop, before all else."""


@dataclass(frozen=True)
class Colours:
    """What is done to n crops.

    Attributes:
        stain: factors of hematoxylin and eosin.
        factors: of brightness, contrast and saturation.
        hue: turn in radians.
        grey: 1 where colour is taken away, else 0.
        sigma: of the blur, pixels; 0 leaves it sharp.
    """

    stain: Float[Tensor, "n 2"]
    factors: Float[Tensor, "n 3"]
    hue: Float[Tensor, " n"]
    grey: Float[Tensor, " n"]
    sigma: Float[Tensor, " n"]


def draw_colours(n: int, config: ColourConfig, generator: torch.Generator) -> Colours:
    """Strengths for n crops; what a config leaves out is drawn too, so seeds stay comparable."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    spread = torch.tensor([config.brightness, config.contrast, config.saturation])
    jitter = (uniform(n) < config.jitter).float()
    factors = 1 + jitter[:, None] * spread * (2 * uniform(n, 3) - 1)
    hue = jitter * 2 * math.pi * config.hue * (2 * uniform(n) - 1)
    grey = (uniform(n) < config.grey).float()
    low, high = config.blur_sigma
    sigma = (uniform(n) < config.blur).float() * (low + (high - low) * uniform(n))
    stain = torch.ones(n, 2)
    if config.stain is not None:
        stain = draw_concentrations(n, config.stain, generator)
    return Colours(stain, factors, hue, grey, sigma)


def distort(rgb: Float[Tensor, "n 3 h w"], colours: Colours) -> Float[Tensor, "n 3 h w"]:
    """Crops with their colours changed.

    Args:
        rgb: intensities in 0..1.
        colours: for as many crops, on the same device.

    Source:
        The kinds of distortion and their order are SimCLR's and DINO's; hue is turned in YIQ.
    """
    if bool((colours.stain != 1).any()):
        rgb = scale_concentrations(rgb, colours.stain)
    brightness, contrast, saturation = (f[:, None, None, None] for f in colours.factors.T)
    rgb = (rgb * brightness).clamp(0, 1)
    mean = _grey(rgb).mean(dim=(2, 3), keepdim=True)
    rgb = (mean + (rgb - mean) * contrast).clamp(0, 1)
    grey = _grey(rgb)
    rgb = (grey + (rgb - grey) * saturation).clamp(0, 1)
    rgb = _turn_hue(rgb, colours.hue).clamp(0, 1)
    rgb = torch.lerp(rgb, _grey(rgb).expand_as(rgb), colours.grey[:, None, None, None])
    return _blur(rgb, colours.sigma)


def _grey(rgb: Tensor) -> Tensor:
    weights = rgb.new_tensor(_LUMA)[None, :, None, None]
    return (rgb * weights).sum(1, keepdim=True)


def _turn_hue(rgb: Tensor, angle: Tensor) -> Tensor:
    to_yiq = rgb.new_tensor(_YIQ)
    sine, cosine = angle.sin(), angle.cos()
    turn = torch.zeros(len(angle), 3, 3, device=rgb.device)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = cosine
    turn[:, 1, 2], turn[:, 2, 1] = -sine, sine
    matrix = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return torch.einsum("nchw,ndc->ndhw", rgb, matrix)


def _blur(rgb: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, one width per crop; sharp crops pass through untouched."""
    rows = (sigma > 0).nonzero()[:, 0]
    if not len(rows):
        return rgb
    widest = float(sigma.max())
    reach = min(max(1, math.ceil(3 * widest)), min(rgb.shape[2:]) - 1)
    offsets = torch.arange(-reach, reach + 1, device=rgb.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma[rows, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None]
    blurred = rgb[rows].flatten(0, 1)[None]
    for shape, pad in (((-1, 1), (0, 0, reach, reach)), ((1, -1), (reach, reach, 0, 0))):
        padded = F.pad(blurred, pad, mode="reflect")
        blurred = F.conv2d(padded, kernel.unflatten(2, shape), groups=len(kernel))
    result = rgb.clone()
    result[rows] = blurred.unflatten(1, (len(rows), 3))[0]
    return result
