"""Painters of what runs through stroma: small vessels and the red cells in them."""

from __future__ import annotations

import math

import numpy as np

from ruichat.slide.phantom.fields import F32, Bool, sample, scatter
from ruichat.slide.phantom.matrix import of_class, thin
from ruichat.slide.phantom.scene import Scene, flow_angle

RED_CELL_UM = 6.4
"""Diameter of a red cell on a section, micrometres."""


def paint_vessels(scene: Scene, free: Bool) -> None:
    """Capillaries and arterioles in stroma, cut at a slant along the fibres."""
    rng = scene.rng
    keys = ("stroma", "normal_glands", "carcinoma_nests", "carcinoma_glands")
    spots = of_class(scene, scatter(rng, scene.shape, scene.px(150), 0.8), *keys)
    spots = spots[sample(free, spots)]
    spots = thin(scene, spots, scene.share(0.2, 0.9))
    angles = flow_angle(scene.flow, spots)
    for point, angle in zip(spots, angles.tolist(), strict=True):
        radius = float(np.clip(rng.lognormal(math.log(8.5), 0.5), 4.5, 32))
        _paint_vessel(scene, point, angle, radius, free)


def _paint_vessel(scene: Scene, point: F32, angle: float, radius_um: float, free: Bool) -> None:
    """One oval vessel; skipped where its wall would cut into epithelium."""
    rng = scene.rng
    stretch = rng.uniform(1.0, 1.9)
    wall_um = 1.8 + 0.28 * max(0.0, radius_um - 9)
    reach = math.ceil(scene.px((radius_um + wall_um) * stretch)) + 3
    x, y = int(point[0]), int(point[1])
    if not (reach <= x < scene.shape[1] - reach and reach <= y < scene.shape[0] - reach):
        return
    box = (slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1))
    if not free[box].all():
        return
    grid = np.arange(-reach, reach + 1, dtype=np.float32) * np.float32(scene.config.mpp)
    u = grid[None, :] * math.cos(angle) + grid[:, None] * math.sin(angle)
    v = -grid[None, :] * math.sin(angle) + grid[:, None] * math.cos(angle)
    theta = np.arctan2(v, u / stretch)
    wobble = (
        1
        + 0.1 * np.cos(2 * theta + rng.uniform(0, 6))
        + 0.07 * np.cos(3 * theta + rng.uniform(0, 6))
    )
    distance = np.hypot(u / stretch, v) / wobble
    inner = np.clip((radius_um - distance) / scene.config.mpp + 0.5, 0, 1)
    outer = np.clip((radius_um + wall_um - distance) / scene.config.mpp + 0.5, 0, 1)
    rings = 1 + 0.12 * np.sin(distance * 2.4) + 0.1 * scene.grain[box]
    eosin, blue = scene.eosin[box], scene.hematoxylin[box]
    eosin += outer * (0.30 * rings - eosin)
    blue += outer * (0.05 - blue)
    eosin += inner * (0.015 - eosin)
    blue += inner * (0.01 - blue)
    _endothelium(scene, point, angle, radius_um, stretch)
    if rng.random() < 0.75:
        _red_cells(scene, point, angle, radius_um, stretch)


def _endothelium(scene: Scene, point: F32, angle: float, radius_um: float, stretch: float) -> None:
    rng = scene.rng
    count = max(2, round(2 * math.pi * radius_um * stretch**0.5 / 17))
    turn = (np.arange(count) + rng.uniform(0, 1) + rng.normal(0, 0.15, count)) * (
        2 * math.pi / count
    )
    ring = scene.px(radius_um + 1.0)
    u, v = ring * stretch * np.cos(turn), ring * np.sin(turn)
    x = point[0] + u * math.cos(angle) - v * math.sin(angle)
    y = point[1] + u * math.sin(angle) + v * math.cos(angle)
    tangent = np.arctan2(np.cos(turn), -stretch * np.sin(turn)) + angle
    scene.add("stromal", np.stack([x, y], axis=1).astype(np.float32), tangent.astype(np.float32))


def _red_cells(scene: Scene, point: F32, angle: float, radius_um: float, stretch: float) -> None:
    """Crowded discs inside the lumen."""
    rng = scene.rng
    span = scene.px(radius_um - 2.2)
    if span <= 0:
        return
    count = max(1, round(0.55 * stretch * (radius_um / RED_CELL_UM * 2) ** 2 * rng.uniform(0.3, 1)))
    distance = span * np.sqrt(rng.random(count))
    turn = rng.uniform(0, 2 * math.pi, count)
    u, v = distance * np.cos(turn) * stretch, distance * np.sin(turn)
    x = point[0] + u * math.cos(angle) - v * math.sin(angle)
    y = point[1] + u * math.sin(angle) + v * math.cos(angle)
    half = math.ceil(scene.px(RED_CELL_UM / 2)) + 1
    grid = np.arange(-half, half + 1, dtype=np.float32)
    for cx, cy in zip(x.astype(int).tolist(), y.astype(int).tolist(), strict=True):
        size = scene.px(RED_CELL_UM / 2) * rng.uniform(0.85, 1.08)
        squash, tilt = rng.uniform(0.65, 1.0), rng.uniform(0, math.pi)
        a = grid[None, :] * math.cos(tilt) + grid[:, None] * math.sin(tilt)
        b = (-grid[None, :] * math.sin(tilt) + grid[:, None] * math.cos(tilt)) / squash
        away = np.hypot(a, b)
        disc = np.clip(size - away + 0.5, 0, 1) * (0.42 + 0.16 * np.minimum(away / size, 1))
        y0, x0 = cy - half, cx - half
        if y0 < 0 or x0 < 0:
            continue
        target = scene.blood[y0 : y0 + 2 * half + 1, x0 : x0 + 2 * half + 1]
        np.maximum(target, disc[: target.shape[0], : target.shape[1]], out=target)
