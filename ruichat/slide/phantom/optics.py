"""Stain amounts to RGB by the Beer-Lambert law, then lens, camera and noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ruichat.slide.phantom.fields import F32
from ruichat.slide.phantom.look import Look

U8 = NDArray[np.uint8]
LN10 = math.log(10.0)


def transmit(amounts: list[F32], stains: F32, background: tuple[float, float, float]) -> F32:
    """Light through stained tissue, grey levels [h, w, 3], not yet rounded.

    Beer-Lambert: I = I0 * 10 ** -(sum over stains of amount * OD), so densities add and
    intensities multiply.

    Args:
        amounts: one [h, w] field per stain, units of stain.
        stains: [number of stains, 3], base-10 OD of R, G, B per unit.
        background: RGB of bare glass, I0.
    """
    light = np.empty((*amounts[0].shape, 3), dtype=np.float32)
    for channel in range(3):
        density = amounts[0] * np.float32(-LN10 * stains[0, channel])
        for amount, stain in zip(amounts[1:], stains[1:], strict=True):
            density += amount * np.float32(-LN10 * stain[channel])
        np.exp(density, out=density)
        density *= np.float32(background[channel])
        light[..., channel] = density
    return light


def expose(light: F32, look: Look, rng: np.random.Generator) -> U8:
    """Camera: saturation, gain and gamma, point spread, noise, rounding."""
    if look.saturation != 1.0:
        grey = light.mean(axis=2, keepdims=True)
        light = grey + (light - grey) * np.float32(look.saturation)
    light *= np.float32(look.gain)
    np.clip(light, 0, 255, out=light)
    pixels = np.round(light, out=light).astype(np.uint8)
    image = Image.fromarray(pixels)
    if look.gamma != 1.0:
        curve = 255 * (np.arange(256) / 255) ** look.gamma
        image = image.point(np.tile(np.round(curve).astype(int), 3).tolist())
    if look.blur_px > 0.15:
        image = image.filter(ImageFilter.GaussianBlur(look.blur_px))
    return add_noise(np.asarray(image), look.noise, rng)


def add_noise(pixels: U8, sigma: float, rng: np.random.Generator) -> U8:
    """Add camera noise from one small random tile laid with random offsets."""
    side = 512
    tile = np.round(rng.standard_normal((side, side, 3), dtype=np.float32) * sigma).astype(np.int16)
    noisy = pixels.astype(np.int16)
    for y in range(0, pixels.shape[0], side):
        for x in range(0, pixels.shape[1], side):
            shift = rng.integers(0, side, 2)
            part = noisy[y : y + side, x : x + side]
            part += np.roll(tile, tuple(shift), axis=(0, 1))[: part.shape[0], : part.shape[1]]
    return np.clip(noisy, 0, 255).astype(np.uint8)
