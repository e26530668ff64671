"""Painter of normal glands: open lumen, one row of columnar cells, basal nuclei."""

from __future__ import annotations

import math

import numpy as np

from ruichat.slide.phantom.config import CLASS_INDEX
from ruichat.slide.phantom.fields import F32, inside, sample, scatter
from ruichat.slide.phantom.scene import Scene


def paint_normal_glands(scene: Scene) -> F32:
    """Round glands: open lumen, columnar cells, basal nuclei; returns their mask in 0..1."""
    rng = scene.rng
    mask = np.zeros(scene.shape, dtype=np.float32)
    radius_um = 40 * scene.look.gland_size * scene.share(0.85, 1.15)
    goblets = scene.share(0.0, 0.75)
    seeds = scatter(rng, scene.shape, scene.px(2.45 * radius_um), 0.16)
    nuclei: list[F32] = []
    turns: list[F32] = []
    for x, y in seeds:
        gland = Gland(scene, float(x), float(y), scene.px(radius_um), goblets)
        if gland.fits(scene):
            points, angles = gland.paint(scene, mask)
            nuclei.append(points)
            turns.append(angles)
    if nuclei:
        scene.add("epithelial", np.concatenate(nuclei), np.concatenate(turns))
    return mask


class Gland:
    """One normal gland, cut across: an outline in polar coordinates round its centre."""

    def __init__(self, scene: Scene, x: float, y: float, radius: float, goblets: float) -> None:
        rng = scene.rng
        self.x, self.y, self.goblets = x, y, goblets
        size = radius * math.exp(rng.normal(0, 0.13))
        angle = np.linspace(0, 2 * math.pi, 256, endpoint=False, dtype=np.float32)
        turn, stretch = rng.uniform(0, math.pi), rng.uniform(1.0, 1.35)
        shape = 1 / np.hypot(np.cos(angle - turn) / stretch, np.sin(angle - turn) * stretch)
        for order in (2, 3, 4, 5):
            shape += rng.normal(0, 0.035) * np.cos(order * angle + rng.uniform(0, 6.3))
        self.radii = (size * shape).astype(np.float32)
        self.height = scene.px(rng.uniform(17, 23)) * min(1.0, size / scene.px(34))
        self.count = max(
            8,
            round(
                float(2 * math.pi * self.radii.mean() * 0.86 / scene.px(6.4 * scene.look.density))
            ),
        )
        self.angle = angle

    def fits(self, scene: Scene) -> bool:
        """Whether the whole outline lies on normal glandular tissue; the field may cut it."""
        ring = self.radii[::12] * 1.04
        points = np.stack(
            [self.x + ring * np.cos(self.angle[::12]), self.y + ring * np.sin(self.angle[::12])],
            axis=1,
        )
        points = points[inside(points.astype(np.float32), scene.shape)].astype(np.float32)
        if len(points) < 2:
            return False
        return bool(np.all(sample(scene.layout.classes, points) == CLASS_INDEX["normal_glands"]))

    def paint(self, scene: Scene, mask: F32) -> tuple[F32, F32]:
        """Draw it; returns its nuclei's points and angles."""
        reach = math.ceil(float(self.radii.max())) + 3
        x0, x1 = max(0, int(self.x) - reach), min(scene.shape[1], int(self.x) + reach + 1)
        y0, y1 = max(0, int(self.y) - reach), min(scene.shape[0], int(self.y) + reach + 1)
        box = (slice(y0, y1), slice(x0, x1))
        dx = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(self.x)
        dy = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(self.y)
        turn = np.arctan2(dy, dx) * np.float32(1 / (2 * math.pi)) % 1.0
        distance = np.hypot(dx, dy)
        depth = self.radii[(turn * 256).astype(np.int32) & 255] - distance
        cell = turn * np.float32(self.count)
        offset = cell - np.floor(cell) - np.float32(0.5)
        top = np.float32(self.height)
        body = np.clip(depth + 0.5, 0, 1)
        grain = scene.grain[box]
        eosin = 0.2 + 0.02 * grain + 0.02 * scene.mottle[box] + 0.03 * (np.abs(offset) > 0.42)
        blue = np.float32(0.07 * scene.look.basophilia) * (1 + 0.2 * grain)
        bowl = self._goblets(scene, turn, distance, depth)
        eosin = eosin + bowl * (0.03 - eosin)
        blue = blue + bowl * (0.045 + 0.008 * grain - blue)
        hole = np.clip((depth - top) * 0.7 + 0.5, 0, 1)
        eosin = eosin * (1 - hole) + 0.02 * hole
        blue = blue * (1 - hole) + 0.015 * hole
        scene.eosin[box] += body * (eosin - scene.eosin[box])
        scene.hematoxylin[box] += body * (blue - scene.hematoxylin[box])
        halo = (depth < 0) & (depth > -2.5)
        scene.eosin[box][halo] *= 0.55
        np.maximum(mask[box], body, out=mask[box])
        return self._nuclei(scene)

    def _goblets(self, scene: Scene, turn: F32, distance: F32, depth: F32) -> F32:
        """Weight of mucin vacuoles: ovals towards the lumen, one per slot of two cells."""
        rng = scene.rng
        slots = max(4, round(self.count / 2.2))
        place = turn * np.float32(slots)
        index = place.astype(np.int32) % slots
        wide = rng.uniform(3.2, 4.9, slots) * (rng.random(slots) < self.goblets)
        deep = rng.uniform(0.5, 0.72, slots)
        wide_n = np.maximum(scene.px(1.0) * wide, 0.01).astype(np.float32)[index]
        arc = (
            (place - np.floor(place) - np.float32(0.5)) * distance * np.float32(2 * math.pi / slots)
        )
        rise = (depth / np.float32(self.height) - deep.astype(np.float32)[index]) / np.float32(0.27)
        return np.clip((1 - np.hypot(arc / wide_n, rise)) * 4, 0, 1)

    def _nuclei(self, scene: Scene) -> tuple[F32, F32]:
        rng = scene.rng
        turn = (np.arange(self.count) + 0.5 + rng.normal(0, 0.12, self.count)) / self.count
        base = self.radii[(turn * 256).astype(int) % 256]
        radius = base - scene.px(5.6) - np.abs(rng.normal(0, scene.px(1.3), self.count))
        angle = turn * 2 * math.pi
        points = np.stack(
            [self.x + radius * np.cos(angle), self.y + radius * np.sin(angle)], axis=1
        )
        return points.astype(np.float32), (angle + rng.normal(0, 0.12, self.count)).astype(
            np.float32
        )
