"""How much of each stain a slide's own tissue holds, by which its folds are told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from ruichat.slide.arrays import Bools, Floats
from ruichat.slide.coat import FEW_CELLS


@dataclass(frozen=True)
class Stains:
    """Optical density in green, parted between the two stains.

    Attributes:
        amounts: hematoxylin and eosin.
        usual: median over the tissue of hematoxylin, eosin and both.
        most: upper decile over the tissue of the same.
    """

    amounts: tuple[Float32[Floats, "h w"], Float32[Floats, "h w"]]
    usual: tuple[float, float, float]
    most: tuple[float, float, float]


def own_stains(od: Float32[Floats, "h w 3"], tissue: Bool[Bools, "h w"]) -> Stains:
    """Stains unmixed by the extremes of red over green that the slide's tissue shows."""
    red, green = od[..., 0], od[..., 1]
    coloured = tissue & (green > 0.1)
    low, high = 0.1, 0.9
    if coloured.sum() >= FEW_CELLS:
        ratios = red[coloured] / green[coloured]
        low = float(np.clip(np.quantile(ratios, 0.02), 0.05, 0.4))
        high = float(np.clip(np.quantile(ratios, 0.98), 0.5, 1.2))
    unmixed = (red - np.float32(low) * green) / np.float32(high - low)
    hematoxylin: Floats = np.clip(unmixed, 0, green).astype(np.float32)
    return measured((hematoxylin, (green - hematoxylin).astype(np.float32)), tissue)


def measured(
    amounts: tuple[Float32[Floats, "h w"], Float32[Floats, "h w"]], where: Bool[Bools, "h w"]
) -> Stains:
    """The same amounts with what is usual and most in a part of the tissue."""
    fields = (*amounts, amounts[0] + amounts[1])
    middle, top = ([float(np.quantile(x[where], share)) for x in fields] for share in (0.5, 0.9))
    return Stains(
        amounts,
        (max(middle[0], 0.03), max(middle[1], 0.03), max(middle[2], 0.03)),
        (max(top[0], 0.05), max(top[1], 0.05), max(top[2], 0.05)),
    )
