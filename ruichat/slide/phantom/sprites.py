"""Nuclei: banks of pre-drawn sprites, and stamping them by the thousand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from ruichat.slide.phantom.fields import F32, Real
from ruichat.slide.phantom.look import Look

ANGLES = 16
"""Orientations per half turn in a bank."""


@dataclass(frozen=True)
class NucleusStyle:
    """What one kind of nucleus looks like; lengths in micrometres.

    Attributes:
        length: mean long axis.
        spread: relative standard deviation of the size.
        ratio: range of short over long axis.
        rough: amplitude of outline irregularity, relative to the radius.
        level: range of mean hematoxylin amount inside.
        rim: extra amount along the nuclear membrane.
        clump: contrast of chromatin clumps.
        nucleoli: most nucleoli in one nucleus.
        bend: curvature of elongated nuclei, relative.
    """

    length: float
    spread: float
    ratio: tuple[float, float]
    rough: float
    level: tuple[float, float]
    rim: float = 0.2
    clump: float = 0.3
    nucleoli: int = 0
    bend: float = 0.0


STYLES: dict[str, NucleusStyle] = {
    "epithelial": NucleusStyle(8.8, 0.10, (0.52, 0.72), 0.02, (0.42, 0.66), 0.25, 0.2, 1),
    "tumour": NucleusStyle(11.8, 0.18, (0.6, 0.95), 0.035, (0.34, 0.82), 0.4, 0.26, 2),
    "columnar_tumour": NucleusStyle(12.4, 0.16, (0.4, 0.62), 0.035, (0.42, 0.85), 0.35, 0.26, 2),
    "mitosis": NucleusStyle(10.0, 0.12, (0.24, 0.38), 0.13, (1.2, 1.45), 0.0, 0.2),
    "lymphocyte": NucleusStyle(6.6, 0.09, (0.82, 1.0), 0.02, (0.66, 0.92), 0.16, 0.28),
    "stromal": NucleusStyle(13.5, 0.25, (0.14, 0.32), 0.02, (0.45, 0.75), 0.12, 0.18, 0, 0.14),
    "ghost": NucleusStyle(8.5, 0.20, (0.65, 0.95), 0.06, (0.12, 0.3), 0.05, 0.15),
    "debris": NucleusStyle(2.3, 0.35, (0.6, 1.0), 0.1, (0.7, 1.2), 0.0, 0.1),
}
"""Sizes on sections after fixation: small lymphocytes about 7 um, benign epithelial nuclei 8-10,
fibroblasts 12-20 by 2-4, carcinoma 10-20 (textbook ranges; Wheater's Functional Histology)."""


@dataclass(frozen=True)
class Bank:
    """Sprites [ANGLES * variants, side, side]: what they let through of the ground, and amounts."""

    keep: F32
    amount: F32
    variants: int

    @property
    def side(self) -> int:
        """Width of a sprite in pixels."""
        return self.keep.shape[1]


def draw_bank(
    style: NucleusStyle, look: Look, mpp: float, rng: np.random.Generator, variants: int = 10
) -> Bank:
    """Draw every orientation of `variants` nuclei of one kind."""
    n = ANGLES * variants
    spread = style.spread * (look.pleomorphism if style.rough >= 0.05 else 1.0)
    scale = np.exp(np.clip(rng.normal(0, spread, n), -2.2 * spread, 2.4 * spread))
    long_um = style.length * look.nuclear_size * scale
    half = long_um / 2 / mpp
    ratio = rng.uniform(*style.ratio, n)
    side = 2 * math.ceil(float(half.max()) * 1.15 + 2) + 1
    grid = np.arange(side, dtype=np.float32) - side // 2
    angle = np.repeat(np.arange(ANGLES), variants) * (math.pi / ANGLES)
    cos, sin = (np.asarray(f(angle), dtype=np.float32)[:, None, None] for f in (np.cos, np.sin))
    u = grid[None, None, :] * cos + grid[None, :, None] * sin
    v = -grid[None, None, :] * sin + grid[None, :, None] * cos
    half_n = half.astype(np.float32)[:, None, None]
    bend = rng.normal(0, style.bend, n).astype(np.float32)[:, None, None]
    v = v + bend * (u * u / half_n - 0.4 * half_n) if style.bend else v
    short_n = half_n * ratio.astype(np.float32)[:, None, None]
    theta = np.arctan2(v / short_n, u / half_n)
    wobble = np.ones_like(theta)
    for order in range(2, 7):
        phase = rng.uniform(0, 2 * math.pi, n).astype(np.float32)[:, None, None]
        size = rng.normal(0, style.rough * 1.6 / order**0.5, n).astype(np.float32)[:, None, None]
        wobble += size * np.cos(order * theta + phase)
    distance = np.hypot(u / half_n, v / short_n) / np.maximum(wobble, 0.4)
    edge_px = np.maximum(short_n, 1.0)
    alpha = np.clip((1 - distance) * edge_px + 0.5, 0, 1)
    texture = _chromatin(style, look, distance, half_n, short_n, u, v, rng, mpp)
    level = rng.uniform(*style.level, n).astype(np.float32)[:, None, None]
    amount = alpha * np.maximum(level * texture, 0.02)
    solid = 0.92 if style.level[0] > 0.35 else 0.55
    return Bank((1 - solid * alpha).astype(np.float32), amount.astype(np.float32), variants)


def _chromatin(
    style: NucleusStyle,
    look: Look,
    distance: Real,
    half_n: Real,
    short_n: Real,
    u: Real,
    v: Real,
    rng: np.random.Generator,
    mpp: float,
) -> F32:
    """Relative amount inside a nucleus: clumps, membrane and nucleoli."""
    noise = rng.standard_normal(distance.shape, dtype=np.float32)
    fine = np.asarray(gaussian_filter(noise, (0, 0.55 / mpp, 0.55 / mpp)))
    fine /= fine.std()
    contrast = np.float32(style.clump * look.chromatin)
    spread = rng.uniform(0.4, 1.3, len(noise)).astype(np.float32)[:, None, None]
    texture = 1 + contrast * spread * fine
    # Vesicular nuclei are pale inside a sharp membrane; hyperchromatic ones are dark throughout.
    vesicular = rng.uniform(0, 1, len(noise)).astype(np.float32)[:, None, None]
    rim_width = np.maximum(0.45 / mpp / short_n, 0.06)
    rim = np.exp(-(((distance - 1 + rim_width) / rim_width) ** 2))
    texture += style.rim * (0.4 + 1.4 * vesicular) * (rim * 1.15 - 0.15)
    for _ in range(style.nucleoli):
        where = rng.uniform(-0.5, 0.5, (2, len(noise))).astype(np.float32)[:, :, None, None]
        size = rng.uniform(0.0, 1.35, len(noise)).astype(np.float32)[:, None, None] / mpp
        size = np.maximum(size * (size > 0.5 / mpp), 0.05)
        gap = (u - where[0] * half_n) ** 2 + (v - where[1] * short_n) ** 2
        texture += 0.75 * vesicular * np.exp(-gap / (size * size))
    return texture


def stamp(
    bank: Bank,
    points: F32,
    angles: F32,
    keep: F32,
    amount: F32,
    margin: int,
    rng: np.random.Generator,
) -> None:
    """Lay one sprite at each point, over what is there.

    Args:
        bank: sprites of one kind.
        points: [n, 2] x, y in pixels.
        angles: [n] orientation of the long axis, radians.
        keep: padded canvas, share of the ground that still shows; changed in place.
        amount: padded canvas of hematoxylin; changed in place.
        margin: padding of both canvases, at least the sprite's half width.
        rng: picks variants.
    """
    turn = np.round(np.asarray(angles) * (ANGLES / math.pi)).astype(int) % ANGLES
    choice = (turn * bank.variants + rng.integers(0, bank.variants, len(points))).tolist()
    corner = np.round(points).astype(int) + margin - bank.side // 2
    side, sprites, inks = bank.side, list(bank.keep), list(bank.amount)
    for index, (x, y) in zip(choice, corner.tolist(), strict=True):
        box = (slice(y, y + side), slice(x, x + side))
        sprite = sprites[index]
        keep[box] *= sprite
        ink = amount[box]
        ink *= sprite
        ink += inks[index]
