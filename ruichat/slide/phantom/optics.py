"""Stain amounts to RGB by the Beer-Lambert law, then lens, camera and noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ruichat.slide.phantom.fields import F32, strips
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
    for strip in strips(len(light)):
        for channel in range(3):
            density = amounts[0][strip] * np.float32(-LN10 * stains[0, channel])
            for amount, stain in zip(amounts[1:], stains[1:], strict=True):
                density += amount[strip] * np.float32(-LN10 * stain[channel])
            np.exp(density, out=density)
            density *= np.float32(background[channel])
            light[strip, :, channel] = density
    return light


def expose(light: F32, look: Look, rng: np.random.Generator) -> U8:
    """Camera: saturation, gain and gamma, point spread, noise, rounding."""
    pixels = np.empty(light.shape, dtype=np.uint8)
    for rows in strips(len(light)):
        strip = light[rows] * np.float32(look.gain * look.saturation)
        if look.saturation != 1.0:
            share = np.float32(look.gain * (1 - look.saturation) / 3)
            part = light[rows]
            strip += ((part[..., 0] + part[..., 1] + part[..., 2]) * share)[..., None]
        np.clip(strip, 0, 255, out=strip)
        pixels[rows] = np.rint(strip, out=strip)
    image = Image.fromarray(pixels)
    if look.gamma != 1.0:
        curve = 255 * (np.arange(256) / 255) ** look.gamma
        image = image.point(np.tile(np.round(curve).astype(int), 3).tolist())
    if look.blur_px > 0.15:
        # A box with soft ends of the same variance: as good as a Gaussian below 1 px, and faster.
        width = math.sqrt(12 * look.blur_px**2 + 1)
        image = image.filter(ImageFilter.BoxBlur((width - 1) / 2))
    return add_noise(np.asarray(image), look.noise, rng)


def add_noise(pixels: U8, sigma: float, rng: np.random.Generator) -> U8:
    """Add camera noise from one small random tile laid with random offsets."""
    side = 256
    tile = np.rint(rng.standard_normal((2 * side, 2 * side, 3), dtype=np.float32) * sigma)
    tile = tile.astype(np.int16)
    noisy = np.empty_like(pixels)
    for y in range(0, pixels.shape[0], side):
        for x in range(0, pixels.shape[1], side):
            down, right = rng.integers(0, side, 2)
            box = (slice(y, y + side), slice(x, x + side))
            rows, cols = pixels[box].shape[:2]
            sums = pixels[box] + tile[down : down + rows, right : right + cols]
            noisy[box] = np.clip(sums, 0, 255)
    return noisy
