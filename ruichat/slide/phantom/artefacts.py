"""What goes wrong between scalpel and scanner: folds, stain shift, pen, bubbles, blur.

Every function marks the pixels it touches with its bit (see ALL_ARTEFACTS) in one uint8 map.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ruichat.slide.phantom.config import ALL_ARTEFACTS, Artefact
from ruichat.slide.phantom.fields import F32, Real, ramp, smooth_noise
from ruichat.slide.phantom.pleats import draw_folds
from ruichat.slide.phantom.scene import Scene

Flags = NDArray[np.uint8]

INKS: dict[str, tuple[float, float, float]] = {
    "blue": (1.15, 0.75, 0.18),
    "green": (1.05, 0.30, 0.75),
    "black": (1.25, 1.22, 1.15),
    "red": (0.12, 0.95, 0.80),
}
"""Optical density of marker pens in R, G, B (chosen to match scanned slides by eye)."""


def bit(kind: Artefact) -> int:
    """Value that marks this artefact in `Phantom.artefacts`."""
    return 1 << ALL_ARTEFACTS.index(kind)


def disturb_stains(scene: Scene, flags: Flags) -> None:
    """Artefacts of the section itself, applied to stain amounts."""
    if "fold" in scene.config.artefacts:
        flags[draw_folds(scene)] |= bit("fold")
    if "stain_shift" in scene.config.artefacts:
        _shift_stain(scene, flags)


def disturb_light(scene: Scene, light: F32, flags: Flags) -> None:
    """Artefacts between section and camera, applied to grey levels in place."""
    painters = (("pen", _pen), ("bubble", _bubbles), ("blur", _blur))
    for kind, painter in painters:
        if kind in scene.config.artefacts:
            painter(scene, light, flags)


def _extent(scene: Scene) -> float:
    return float(min(scene.shape))


def _band(scene: Scene, width_px: float, wave_px: float) -> tuple[Real, Real]:
    """Signed distance to a wandering line through the field, and the coordinate along it."""
    rng, (rows, cols) = scene.rng, scene.shape
    turn = rng.uniform(0, math.pi)
    centre = (cols * rng.uniform(0.25, 0.75), rows * rng.uniform(0.25, 0.75))
    y, x = np.ogrid[0:rows, 0:cols]
    dx, dy = (x - centre[0]).astype(np.float32), (y - centre[1]).astype(np.float32)
    away = dx * np.float32(-math.sin(turn)) + dy * np.float32(math.cos(turn))
    away += np.float32(wave_px) * smooth_noise(rng, scene.shape, max(8.0, wave_px * 6))
    along = dx * np.float32(math.cos(turn)) + dy * np.float32(math.sin(turn))
    return away / np.float32(width_px), along


def _shift_stain(scene: Scene, flags: Flags) -> None:
    """Uneven staining and thickness, stronger towards one side."""
    rng = scene.rng
    rows, cols = scene.shape
    turn = rng.uniform(0, 2 * math.pi)
    y, x = np.ogrid[0:rows, 0:cols]
    slope = ((x / cols - 0.5) * math.cos(turn) + (y / rows - 0.5) * math.sin(turn)).astype(
        np.float32
    )
    cloud = smooth_noise(rng, scene.shape, _extent(scene) * 0.5)
    field = slope * np.float32(1.1) + np.float32(0.15) * cloud
    strength = rng.uniform(0.5, 0.9)
    scene.hematoxylin *= np.exp(np.float32(strength * rng.uniform(0.4, 1.0)) * field)
    scene.eosin *= np.exp(np.float32(-strength * rng.uniform(0.4, 1.2)) * field)
    flags[(np.abs(field) * np.float32(strength) > 0.2) & (scene.layout.tissue > 0)] |= bit(
        "stain_shift"
    )


def _pen(scene: Scene, light: F32, flags: Flags) -> None:
    """A marker stroke on the cover glass: translucent ink, soft edges, streaks along it."""
    rng, extent = scene.rng, _extent(scene)
    width = min(scene.px(rng.uniform(120, 300)), extent * 0.06)
    away, along = _band(scene, width, extent * 0.08)
    ink = INKS[str(rng.choice(list(INKS)))]
    ends = ramp(np.float32(extent * rng.uniform(0.3, 0.6)) - np.abs(along), 0.0, width * 0.5)
    cover = ramp(1 - np.abs(away), 0.0, 0.15) * ends
    streaks = (
        0.8 + 0.12 * np.sin(away * 9) + 0.1 * smooth_noise(rng, scene.shape, max(8.0, width * 0.5))
    )
    density = cover * streaks * np.float32(rng.uniform(0.4, 0.8) * math.log(10))
    for channel in range(3):
        light[..., channel] *= np.exp(-density * np.float32(ink[channel]))
    flags[cover > 0.02] |= bit("pen")


def _bubbles(scene: Scene, light: F32, flags: Flags) -> None:
    """Air under the cover glass: a dark refracting ring, a washed-out inside."""
    rng, extent = scene.rng, _extent(scene)
    for _ in range(int(rng.integers(1, 4))):
        radius = min(scene.px(rng.uniform(60, 280)), extent * 0.14)
        cx, cy = rng.uniform(0.1, 0.9) * scene.shape[1], rng.uniform(0.1, 0.9) * scene.shape[0]
        reach = math.ceil(radius * 1.25)
        x0, x1 = max(0, int(cx) - reach), min(scene.shape[1], int(cx) + reach)
        y0, y1 = max(0, int(cy) - reach), min(scene.shape[0], int(cy) + reach)
        y, x = np.ogrid[y0:y1, x0:x1]
        away = (np.hypot(x - cx, (y - cy) * rng.uniform(0.9, 1.1)) / radius).astype(np.float32)
        ring = np.exp(-(((away - 1) / 0.035) ** 2)) + 0.5 * np.exp(-(((away - 0.93) / 0.02) ** 2))
        part = light[y0:y1, x0:x1]
        inner = ramp(1 - away, 0.0, 0.05)[..., None] * np.float32(0.35)
        part += inner * (part.mean(axis=(0, 1)) * np.float32(1.06) - part)
        part *= (1 - np.float32(0.62) * np.minimum(ring, 1.2))[..., None]
        flags[y0:y1, x0:x1][away < 1.1] |= bit("bubble")


def _blur(scene: Scene, light: F32, flags: Flags) -> None:
    """Patches the scanner failed to focus."""
    rng, extent = scene.rng, _extent(scene)
    for _ in range(int(rng.integers(1, 3))):
        radius = extent * rng.uniform(0.12, 0.25)
        cx, cy = rng.uniform(0.2, 0.8) * scene.shape[1], rng.uniform(0.2, 0.8) * scene.shape[0]
        x0, x1 = max(0, int(cx - radius)), min(scene.shape[1], int(cx + radius) + 1)
        y0, y1 = max(0, int(cy - radius)), min(scene.shape[0], int(cy + radius) + 1)
        y, x = np.ogrid[y0:y1, x0:x1]
        away = (np.hypot(x - cx, y - cy) / radius).astype(np.float32)
        amount = ramp(1 - away, 0.0, 0.3)[..., None]
        part = light[y0:y1, x0:x1]
        image = Image.fromarray(np.clip(part, 0, 255).astype(np.uint8))
        soft = image.filter(ImageFilter.GaussianBlur(scene.px(rng.uniform(2.0, 4.5))))
        part += amount * (np.asarray(soft, dtype=np.float32) - part)
        flags[y0:y1, x0:x1][amount[..., 0] > 0.3] |= bit("blur")
