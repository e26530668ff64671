"""Folds of the section: pleats in the midst of the tissue, and rims that lie turned over.

A pleat pressed flat puts two more layers on the section, a torn edge that slid over its other side
one; so does a rim that is turned over. What lies on top is the tissue from beside the crease, seen
in a mirror, a little above the plane of focus, and denser where it bends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from ruichat.slide.phantom.fields import F32, Real, ramp, smooth_noise
from ruichat.slide.phantom.scene import Scene

WIDTH_UM = (30.0, 140.0)
"""Width of a pleat at its widest, and of a turned rim; pleats on scanned slides are as wide."""

LENGTH = (0.4, 1.1)
"""Length of a pleat as a share of the field's shorter side."""

FLAP_SHARE = 0.3
"""Share of folds that are turned rims, where the tissue has a rim."""

CREASE_UM = 4.0
"""Width of the denser line along a crease."""

SEEN_UM = 16.0
"""Side of the square over which what a fold adds is averaged to tell whether it shows."""

MIN_SEEN = 0.12
"""Least mean amount of stain that shows: over fat and lumens a fold adds next to nothing."""

NUM_BLURRED = 6
"""Directions over which what is out of focus is averaged."""


@dataclass(frozen=True)
class Strip:
    """Where more than one layer lies.

    Attributes:
        cover: float32 [h, w], 0 to 1, how much of the tissue's own thickness each layer adds.
        mirrors: for each layer, signed distance of every pixel from its crease along `normal`, px.
        normal: x, y of the unit vector across the strip.
    """

    cover: F32
    mirrors: tuple[F32, ...]
    normal: tuple[float, float]


def draw_folds(scene: Scene) -> NDArray[np.bool_]:
    """Lay one or two folds on the stain amounts; True where they show."""
    where = np.zeros(scene.shape, np.bool_)
    for _ in range(int(scene.rng.integers(1, 3))):
        turned = not scene.config.fill and scene.rng.random() < FLAP_SHARE
        strip = _turned_rim(scene) if turned else _pleat(scene)
        where |= (strip.cover > 0.5) & (_lay(scene, strip) > MIN_SEEN)
    return where


def _pleat(scene: Scene) -> Strip:
    """A strip along a wandering line that tapers towards both ends."""
    rng, (rows, cols) = scene.rng, scene.shape
    extent = float(min(scene.shape))
    half = min(scene.px(rng.uniform(*WIDTH_UM)), extent * 0.1) / 2
    turn = rng.uniform(0, math.pi)
    x0, y0 = cols * rng.uniform(0.25, 0.75), rows * rng.uniform(0.25, 0.75)
    y, x = np.ogrid[0:rows, 0:cols]
    dx, dy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    normal = (-math.sin(turn), math.cos(turn))
    away = dx * np.float32(normal[0]) + dy * np.float32(normal[1])
    away += np.float32(extent * 0.04) * smooth_noise(rng, scene.shape, extent * 0.35)
    along = (dx * np.float32(normal[1]) - dy * np.float32(normal[0])) / np.float32(
        extent * rng.uniform(*LENGTH) / 2
    )
    width = np.float32(half) * np.sqrt(np.maximum(1 - along**2, 0))
    left, right = _f32(away + width), _f32(away - width)  # distances from both creases
    cover = ramp(np.minimum(left, -right), 0.0, max(1.0, scene.px(rng.uniform(2, 6))))
    layers = (left, right) if rng.random() < 0.5 else (left,)
    return Strip(_at_creases(scene, cover, layers), layers, normal)


def _turned_rim(scene: Scene) -> Strip:
    """The outermost part of the tissue in some direction, up to a straight crease."""
    rng, (rows, cols) = scene.rng, scene.shape
    width = min(scene.px(rng.uniform(*WIDTH_UM)), min(scene.shape) * 0.1)
    turn = rng.uniform(0, 2 * math.pi)
    normal = (math.cos(turn), math.sin(turn))
    y, x = np.ogrid[0:rows, 0:cols]
    reach = (x * normal[0] + y * normal[1]).astype(np.float32)
    tissue = scene.layout.tissue > 0.5
    outermost = float(reach[tissue].max()) if tissue.any() else float(reach.max())
    inner = reach - np.float32(outermost - width)
    cover = ramp(inner, 0.0, max(1.0, scene.px(rng.uniform(2, 6))))
    return Strip(_at_creases(scene, cover, (inner,)), (inner,), normal)


def _at_creases(scene: Scene, cover: F32, layers: tuple[F32, ...]) -> F32:
    """The cover on tissue only, denser along the creases."""
    cover = cover * scene.layout.tissue
    for away in layers:
        bend = np.exp(-((away / np.float32(scene.px(CREASE_UM))) ** 2))
        cover += cover * bend * np.float32(scene.rng.uniform(0.1, 0.5))
    return cover


def _f32(field: Real) -> F32:
    return np.asarray(field, np.float32)


def _lay(scene: Scene, strip: Strip) -> F32:
    """Add each layer: for every pixel, the mean of a ring around its place in the mirror.

    Returns:
        float32 [h, w], amount of all stains added, averaged over `SEEN_UM`.
    """
    rows, cols = np.nonzero(strip.cover)
    amount = strip.cover[rows, cols]
    radius = scene.px(scene.rng.uniform(0.5, 4.0))
    turns = np.arange(NUM_BLURRED) * 2 * np.pi / NUM_BLURRED
    ring = np.stack([np.cos(turns), np.sin(turns)], axis=1) * radius
    stains = (scene.hematoxylin, scene.eosin, scene.blood)
    added = [np.zeros(len(rows), np.float32) for _ in stains]
    for mirror in strip.mirrors:
        back = -2 * mirror[rows, cols]
        x, y = cols + back * strip.normal[0], rows + back * strip.normal[1]
        for right, down in ring:
            at_y = np.clip(np.rint(y + down).astype(np.intp), 0, scene.shape[0] - 1)
            at_x = np.clip(np.rint(x + right).astype(np.intp), 0, scene.shape[1] - 1)
            for total, stain in zip(added, stains, strict=True):
                total += stain[at_y, at_x] * amount / np.float32(NUM_BLURRED)
    whole = np.zeros(scene.shape, np.float32)
    for total, stain in zip(added, stains, strict=True):
        stain[rows, cols] += total
        whole[rows, cols] += total
    return _f32(np.asarray(uniform_filter(whole, max(1, round(scene.px(SEEN_UM))))))
