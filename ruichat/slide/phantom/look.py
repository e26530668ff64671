"""How one phantom was stained, cut and scanned: the quantities domain randomisation varies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ruichat.slide.phantom.fields import F32

HEMATOXYLIN = (0.57, 0.72, 0.31)
EOSIN = (0.17, 0.87, 0.39)
BLOOD = (0.08, 0.80, 0.60)
"""Optical density of red, green and blue per unit of stain. The first two lie between
Ruifrok & Johnston 2001 and what Macenko's method finds on scanned H&E; blood is eosinophilic
but absorbs more blue, hence its brick red."""


@dataclass(frozen=True)
class Look:
    """One slide's appearance.

    Attributes:
        stains: float32 [3, 3], rows hematoxylin, eosin, blood; base-10 OD per unit amount.
        hematoxylin: strength of the nuclear stain, 1 is usual.
        eosin: strength of the counterstain, 1 is usual.
        background: RGB of bare glass, 0-255.
        nuclear_size: factor on every nuclear diameter.
        chromatin: contrast of chromatin texture, 1 is usual.
        gland_size: factor on gland and lumen diameters.
        density: factor on nuclear spacing.
        basophilia: hematoxylin taken up by cytoplasm and matrix, factor.
        pleomorphism: spread of malignant nuclear size and shape, 1 is usual.
        looseness: how much white shows between fibres and cells, 1 is usual.
        blur_px: standard deviation of the scanner's point spread, pixels.
        noise: standard deviation of camera noise, grey levels.
        gain: brightness factor after staining.
        gamma: exponent of the camera's response.
        saturation: factor on colour saturation.
    """

    stains: F32
    hematoxylin: float = 1.0
    eosin: float = 1.0
    background: tuple[float, float, float] = (244.0, 243.0, 245.0)
    nuclear_size: float = 1.0
    chromatin: float = 1.0
    gland_size: float = 1.0
    density: float = 1.0
    basophilia: float = 1.0
    pleomorphism: float = 1.0
    looseness: float = 1.0
    blur_px: float = 0.6
    noise: float = 2.0
    gain: float = 1.0
    gamma: float = 1.0
    saturation: float = 1.0


def choose_look(rng: np.random.Generator, *, randomise: bool) -> Look:
    """Draw an appearance; without `randomise` the usual one."""
    base = np.array([HEMATOXYLIN, EOSIN, BLOOD], dtype=np.float32)
    if not randomise:
        return Look(stains=base)
    jitter = rng.normal(0, [[0.08, 0.05, 0.055], [0.07, 0.04, 0.11], [0.05, 0.06, 0.1]], (3, 3))
    stains = np.clip(base + jitter, 0.02, 1.2).astype(np.float32)
    # Hematoxylin is never greenish: it absorbs red well above blue.
    stains[0, 2] = min(stains[0, 2], stains[0, 0] - 0.12)
    tint = rng.uniform(228, 250) + rng.normal(0, 3.0, 3)

    def factor(spread: float) -> float:
        return float(np.exp(np.clip(rng.normal(0, spread), -2 * spread, 2 * spread)))

    return Look(
        stains=stains,
        hematoxylin=factor(0.22),
        eosin=factor(0.28),
        background=(
            float(min(tint[0], 253)),
            float(min(tint[1], 253)),
            float(min(tint[2] + 1, 254)),
        ),
        nuclear_size=factor(0.11),
        chromatin=factor(0.35),
        gland_size=factor(0.2),
        density=factor(0.08),
        basophilia=factor(0.35),
        pleomorphism=factor(0.25),
        looseness=factor(0.35),
        blur_px=float(rng.uniform(0.2, 1.1)),
        noise=float(rng.uniform(0.5, 4.0)),
        gain=float(rng.uniform(0.92, 1.05)),
        gamma=factor(0.1),
        saturation=factor(0.12),
    )
