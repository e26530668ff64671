"""Painters of carcinoma: solid nests and malignant glands."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ruichat.slide.phantom.fields import (
    F32,
    Bool,
    border_distance,
    distance_to,
    nearest,
    ramp,
    sample,
    scatter,
    smooth_noise,
    smoothed,
    upsample,
)
from ruichat.slide.phantom.glands import paint_normal_glands
from ruichat.slide.phantom.matrix import blend, of_class, thin
from ruichat.slide.phantom.scene import Scene


def cell_borders(scene: Scene, points: F32, reach_um: float) -> F32:
    """Distance to the nearest border between cells, um, at full size; large far from cells.

    Each nucleus stamps a cone into the two smallest distances: a Voronoi diagram at the cost of
    its cells' areas instead of a search per pixel.
    """
    step = max(1, round(1.0 / scene.config.mpp))
    rows, cols = (math.ceil(side / step) for side in scene.shape)
    half = math.ceil(scene.px(reach_um) / step)
    first = np.full((rows + 2 * half + 2, cols + 2 * half + 2), 1e3, dtype=np.float32)
    second = first.copy()
    side = 2 * half + 1
    grid = np.arange(side, dtype=np.float32) - half
    cones = _cones(grid, scene.rng)
    corner = np.round(points / step).astype(int)
    for turn, (x, y) in enumerate(corner.tolist()):
        cone = cones[turn % len(cones)]
        box = (slice(y, y + side), slice(x, x + side))
        one, two = first[box], second[box]
        np.minimum(two, np.maximum(one, cone), out=two)
        np.minimum(one, cone, out=one)
    gap = (second - first)[half : half + rows, half : half + cols]
    gap = np.minimum(gap, 20.0).astype(np.float32)
    return upsample(gap, step, scene.shape) * np.float32(step * scene.config.mpp / 2)


def _cones(grid: F32, rng: np.random.Generator) -> list[F32]:
    """Distance cones with slightly oval levels, so that cells aren't perfect polygons."""
    cones: list[F32] = []
    for _ in range(24):
        turn, stretch = rng.uniform(0, math.pi), rng.uniform(0.85, 1.15)
        u = grid[None, :] * math.cos(turn) + grid[:, None] * math.sin(turn)
        v = -grid[None, :] * math.sin(turn) + grid[:, None] * math.cos(turn)
        cones.append(np.hypot(u * stretch, v / stretch).astype(np.float32))
    return cones


def paint_cytoplasm(
    scene: Scene, weight: F32, points: F32, *, hematoxylin: float, eosin: float, border: float
) -> None:
    """Granular cytoplasm with cell borders where `weight` is above 0."""
    gap = cell_borders(scene, points, 11.0)
    line = np.exp(-((gap * np.float32(1 / 0.7)) ** 2))
    pink = eosin * (1 + 0.13 * scene.grain + 0.13 * scene.mottle + border * line)
    blue = hematoxylin * scene.look.basophilia * (1 + 0.16 * scene.grain + 0.2 * scene.mottle)
    slits = ramp(scene.mottle + 1.2 * scene.grain * line, 3.2, 3.6)
    blend(
        scene,
        weight,
        blue * (1 - slits),
        pink * (1 - 0.8 * slits),
    )


def retract(scene: Scene, margin: F32) -> None:
    """Empty clefts between tumour and stroma, where fixation shrank them apart.

    Args:
        scene: painted with stroma so far.
        margin: signed distance to the tumour's border, um, positive inside.
    """
    width = scene.share(-1.5, 3.0) + 1.3 * smooth_noise(scene.rng, scene.shape, scene.px(60))
    cleft = ramp(margin + np.maximum(width, 0.0), 0.0, 1.0) * (width > 0.3)
    scene.eosin *= 1 - 0.9 * cleft
    scene.hematoxylin *= 1 - 0.9 * cleft


def add_malignant(
    scene: Scene, points: F32, angles: F32 | None = None, style: str = "tumour"
) -> None:
    """Atypical nuclei, one in about sixty dividing, some replaced by debris."""
    if angles is None:
        angles = scene.rng.uniform(0, math.pi, len(points)).astype(np.float32)
    fate = scene.rng.random(len(points))
    rate = scene.share(0.005, 0.028)
    for kind, chosen in (
        ("mitosis", fate < rate),
        ("debris", (fate >= rate) & (fate < rate + 0.008)),
        (style, fate >= rate + 0.008),
    ):
        scene.add(kind, points[chosen], angles[chosen])


def paint_nests(scene: Scene) -> F32:
    """Solid sheets and nests in a scanty stroma; returns their mask in 0..1, full size."""
    rng, look = scene.rng, scene.look
    depth = scene.depth_um("carcinoma_nests")
    spacing = scene.px(170 * look.gland_size * scene.share(0.7, 1.3))
    seeds = scatter(rng, scene.shape, spacing, 0.45)
    where = depth > 0
    nodes = scene.mid_points(where.astype(np.float32))
    warp = np.zeros_like(nodes)
    for scale_um, amplitude_um in ((90.0, 26.0), (32.0, 6.0)):
        for axis in range(2):
            noise = smooth_noise(rng, depth.shape, scale_um / 2)[where]
            warp[:, axis] += np.float32(scene.px(amplitude_um)) * noise
    gap = np.zeros(depth.shape, dtype=np.float32)
    gap[where] = border_distance(seeds, nodes + warp) * np.float32(scene.config.mpp)
    septum = 7 + 5 * smooth_noise(rng, depth.shape, 60) + scene.share(0, 5)
    signed = np.minimum(gap, depth) - np.maximum(septum, 1.5)
    signed = smoothed(np.where(where, signed, -6.0), 1.2)
    margin = upsample(signed.astype(np.float32), scene.mid, scene.shape)
    mask = ramp(margin, 0.0, 1.0) * scene.layout.tissue
    points = of_class(
        scene,
        scatter(rng, scene.shape, scene.px(12.6 * look.density * look.nuclear_size), 0.36),
        "carcinoma_nests",
    )
    points = points[sample(margin, points) > 2.5]
    points = thin(scene, points, 0.93)
    retract(scene, margin)
    paint_cytoplasm(
        scene,
        mask,
        points,
        hematoxylin=0.13,
        eosin=scene.share(0.16, 0.32),
        border=scene.share(-0.5, 0.4),
    )
    add_malignant(scene, points)
    return mask


def lumens(scene: Scene, depth: F32, size: float, height: F32) -> Bool:
    """Irregular holes on the middle grid, at least one about every 120 um of the region.

    Args:
        scene: the window to fill.
        depth: distance to the region's border, um.
        size: factor on the size of glands.
        height: thickness of the epithelium round the holes, um.
    """
    rng, node_um = scene.rng, scene.mid * scene.config.mpp
    raw = smooth_noise(rng, depth.shape, 85 * size / node_um)
    raw += np.float32(0.55) * smooth_noise(rng, depth.shape, 34 * size / node_um)
    spacing = 105 * size / node_um
    y, x = np.mgrid[0 : depth.shape[0], 0 : depth.shape[1]].astype(np.float32)
    far, _ = nearest(scatter(rng, depth.shape, spacing, 0.4), np.stack([x, y], axis=-1))
    raw += np.float32(2.2) * np.clip(1 - far / np.float32(spacing * 0.42), 0, 1)
    return (smoothed(raw, 1.5) > 1.0) & (depth > 0.7 * height + 4)


def paint_malignant_glands(scene: Scene) -> F32:
    """Crowded irregular glands with stratified nuclei; returns their mask in 0..1."""
    rng, look = scene.rng, scene.look
    depth = scene.depth_um("carcinoma_glands")
    size = look.gland_size * scene.share(0.8, 1.25)
    height = np.maximum(21 + 6 * smooth_noise(rng, depth.shape, 50), 10)
    lumen = lumens(scene, depth, size, height)
    node_um = scene.mid * scene.config.mpp
    away = smoothed((distance_to(lumen) - distance_to(~lumen)) * node_um, 1.0)
    rim = np.where(depth > 3, height - away, -6).astype(np.float32)
    margin = upsample(rim, scene.mid, scene.shape)
    lumen_margin = upsample(away.astype(np.float32), scene.mid, scene.shape)
    mask = ramp(margin, 0.0, 1.0) * scene.layout.tissue
    points = of_class(
        scene,
        scatter(rng, scene.shape, scene.px(8.3 * look.density * look.nuclear_size), 0.38),
        "carcinoma_glands",
    )
    from_lumen = sample(lumen_margin, points)
    from_base = sample(margin, points)
    points = points[(from_lumen > 5.0) & (from_base > 2.0)]
    points = thin(scene, points, 0.95)
    retract(scene, margin)
    paint_cytoplasm(scene, mask, points, hematoxylin=0.15, eosin=scene.share(0.18, 0.3), border=0.0)
    content = ramp(smooth_noise(rng, scene.shape, scene.px(70)) + 0.5 * scene.mottle, 0.6, 1.6)
    hole = (1 - ramp(lumen_margin, -0.8, 0.6)) * mask
    blend(
        scene,
        hole,
        0.01 + 0.08 * content,
        0.015 + 0.22 * content * (1 + 0.3 * scene.grain),
    )
    angles = scene.slope(away, points) + rng.normal(0, 0.3, len(points))
    add_malignant(scene, points, angles.astype(np.float32), "columnar_tumour")
    dust = of_class(scene, scatter(rng, scene.shape, scene.px(7), 0.6), "carcinoma_glands")
    dirty = sample(hole * content, dust)
    scene.add("debris", thin(scene, dust, dirty * 0.3))
    return mask


EPITHELIUM: dict[str, Callable[[Scene], F32]] = {
    "carcinoma_nests": paint_nests,
    "carcinoma_glands": paint_malignant_glands,
    "normal_glands": paint_normal_glands,
}
"""Painters of the classes whose epithelium lies in stroma; each returns its mask in 0..1."""
