"""Stain normalisation after Macenko, as encoders are published with it: stains of one image on all.

In torch and float32, in the order of the published code, so that numbers agree to the last bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from torch import Tensor

from ruichat.errors import ModelError

LIGHT = 240.0
"""Grey level of light that meets no stain."""

MIN_DENSITY = 0.15
"""Natural optical density that all of red, green and blue must have for a pixel to show stain."""

EXTREME = 1
"""Percentile of the angle at which a stain lies, from either end."""

STRONGEST = 99
"""Percentile of a stain's amount that is scaled to that of the target."""


@dataclass(frozen=True)
class Stains:
    """What an image is stained with.

    Attributes:
        density_cs: optical density of red, green and blue per unit of each stain, haematoxylin
            first.
        strongest_s: amount of each stain at the 99th percentile of pixels.
    """

    density_cs: Float32[Tensor, "3 2"]
    strongest_s: Float32[Tensor, 2]


def read_target(path: Path) -> Stains:
    """The stains of the image to which an encoder's tiles are normalised.

    Raises:
        ModelError: it isn't an RGB image of stained tissue.
    """
    from PIL import Image, UnidentifiedImageError

    hint = "Get the encoder's published file again"
    try:
        with Image.open(path) as image:
            mode, picture = image.mode, np.array(image)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ModelError(f"{path.name} can't be read as an image ({error})", hint=hint) from error
    if mode != "RGB":
        raise ModelError(f"{path.name} is a picture of mode {mode}, not RGB", hint=hint)
    found = _separate(picture)
    if found is None or not bool(torch.isfinite(found[0].density_cs).all()):
        raise ModelError(f"{path.name} shows no stained tissue", hint=hint)
    return found[0]


def normalise_stains(
    tiles: UInt8[NDArray[np.uint8], "n h w 3"], target: Stains
) -> Float32[NDArray[np.float32], "n h w 3"]:
    """Tiles as if they had been stained like the target, in 0 to 255 without rounding.

    A tile on which no two stains are found stays as it is.

    Source:
        Macenko et al. 2009, ISBI; as in macenko.py of github.com/LG-AI-EXAONE/EXAONEPath.
    """
    normalised = tiles.astype(np.float32)
    for i, tile in enumerate(tiles):
        found = _separate(tile)
        if found is None:
            continue
        stains, amount_sp = found
        amount_sp *= (target.strongest_s / stains.strongest_s)[:, None]
        rgb_cp = LIGHT * torch.exp(-(target.density_cs @ amount_sp))
        rgb_cp[rgb_cp > 255] = 255
        if not bool(torch.isnan(rgb_cp).any()):
            normalised[i] = rgb_cp.T.reshape(tile.shape).numpy()
    return normalised


def _separate(
    picture: UInt8[NDArray[np.uint8], "h w 3"],
) -> tuple[Stains, Float32[Tensor, "2 p"]] | None:
    """A picture's stains and how much of each its pixels have; None where there are none."""
    grey_pc = torch.from_numpy(picture.astype(np.float32)).reshape(-1, 3)
    density_pc = -torch.log((grey_pc + 1) / LIGHT)
    stained_pc = density_pc[~(density_pc < MIN_DENSITY).any(dim=1)]
    if len(stained_pc) < 2:
        return None  # one pixel has no spread
    try:
        density_cs = _extremes(stained_pc)
        amount_sp = torch.linalg.lstsq(density_cs, density_pc.T)[0]
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        return None
    strongest_s = torch.stack([_percentile(amount, STRONGEST) for amount in amount_sp])
    return Stains(density_cs, strongest_s), amount_sp


def _extremes(stained_pc: Float32[Tensor, "p 3"]) -> Float32[Tensor, "3 2"]:
    """The two directions between which the pixels' colours lie, the redder-absorbing one first."""
    centred_pc = stained_pc - stained_pc.mean(dim=0)
    covariance_cc = centred_pc.T @ centred_pc / (len(stained_pc) - 1)
    plane_ca = torch.linalg.eigh(covariance_cc)[1][:, 1:]
    place_pa = stained_pc @ plane_ca
    angle_p = torch.atan2(place_pa[:, 1], place_pa[:, 0])
    ends: list[Tensor] = []
    for percent in (EXTREME, 100 - EXTREME):
        angle = _percentile(angle_p, percent)
        ends.append(plane_ca @ torch.stack((torch.cos(angle), torch.sin(angle))))
    low_c, high_c = ends
    first_is_low = bool(low_c[0] > high_c[0])
    return torch.stack((low_c, high_c) if first_is_low else (high_c, low_c), dim=1)


def _percentile(values: Float32[Tensor, " p"], percent: int) -> Tensor:
    """Of values [p], the one nearest to that rank, none between two."""
    return values.kthvalue(1 + round(0.01 * percent * (len(values) - 1))).values
