"""Painters of tissue without glands: stroma, lymphoid tissue, fat, necrosis, mucus."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ruichat.slide.phantom.config import CLASS_INDEX
from ruichat.slide.phantom.fields import (
    F32,
    Bool,
    Real,
    border_distance,
    inside,
    look_up,
    ramp,
    sample,
    scatter,
    smooth_noise,
    strips,
    upsample,
)
from ruichat.slide.phantom.scene import Scene, fibre_texture, flow_angle


def blend(scene: Scene, weight: Real, hematoxylin: Real, eosin: Real) -> None:
    """Paint over the ground where `weight` is above 0."""
    scene.hematoxylin += weight * (hematoxylin - scene.hematoxylin)
    scene.eosin += weight * (eosin - scene.eosin)


def of_class(scene: Scene, points: F32, *keys: str) -> F32:
    """The points that lie inside the field on regions of these classes."""
    points = points[inside(points, scene.shape)]
    classes = sample(scene.layout.classes, points)
    return points[np.isin(classes, [CLASS_INDEX[key] for key in keys])]


def thin(scene: Scene, points: F32, keep: float | Real) -> F32:
    """A random part of the points; `keep` is the probability, one for all or one each."""
    return points[scene.rng.random(len(points)) < keep]


def paint_stroma(scene: Scene) -> None:
    """Collagen with spindle nuclei: the ground of every region that isn't painted over."""
    rng, look = scene.rng, scene.look
    all_fibrils, all_bundles = fibre_texture(scene)
    slow_field = smooth_noise(rng, scene.shape, scene.px(130))
    fibrous_field = smooth_noise(rng, scene.shape, scene.px(90))
    strength, base = scene.share(0.2, 0.36), 0.045 * look.basophilia
    tear = -3.2 + 0.7 * look.looseness
    for rows in strips(scene.shape[0]):
        fibrils, bundles = all_fibrils[rows], all_bundles[rows]
        slow, mottle = slow_field[rows], scene.mottle[rows]
        fibres = (0.12 * fibrils + 0.14 * bundles) * (1 + 0.45 * fibrous_field[rows])
        gaps = ramp(bundles + 0.7 * fibrils + 0.9 * slow + 0.3 * mottle, tear, tear + 1.3)
        eosin = strength * (1 + fibres + 0.12 * slow + 0.08 * mottle) + 0.016 * scene.grain[rows]
        scene.eosin[rows] += np.maximum(eosin * (0.15 + 0.85 * gaps), 0.01)
        blue = base * (1 + 0.5 * fibrils * gaps + 0.4 * mottle) * (0.2 + 0.8 * gaps)
        scene.hematoxylin[rows] += np.maximum(blue, 0)


def scatter_stromal_nuclei(scene: Scene, free: Bool) -> None:
    """Spindle nuclei along the fibres, and stray lymphocytes, where `free` (no epithelium)."""
    spacing = scene.px(19.0 * scene.look.density * scene.share(0.85, 1.25))
    keys = ("stroma", "normal_glands", "carcinoma_nests", "carcinoma_glands")
    points = of_class(scene, scatter(scene.rng, scene.shape, spacing, 0.6), *keys)
    points = points[sample(free, points)]
    points = thin(scene, points, 0.75)
    angles = flow_angle(scene.flow, points) + scene.rng.normal(0, 0.16, len(points))
    scene.add("stromal", points, angles.astype(np.float32))
    clusters = smooth_noise(scene.rng, scene.shape, scene.px(120))
    spots = of_class(scene, scatter(scene.rng, scene.shape, scene.px(11), 0.5), *keys)
    spots = spots[sample(free, spots)]
    level = sample(clusters, spots)
    lamina = sample(scene.layout.classes, spots) == CLASS_INDEX["normal_glands"]
    chance = 0.03 + 0.35 * np.clip(level - 1.3, 0, 1) + 0.16 * lamina
    scene.add("lymphocyte", thin(scene, spots, chance.astype(np.float32)))


def paint_lymphoid(scene: Scene, weight: F32) -> None:
    """Sheets of lymphocytes; paler germinal centres with larger nuclei."""
    look = scene.look
    mesh = smooth_noise(scene.rng, scene.shape, scene.px(5))
    eosin = 0.13 + 0.035 * mesh + 0.02 * scene.grain
    hematoxylin = np.float32(0.10 * look.basophilia) * (1 + 0.4 * scene.mottle)
    blend(scene, weight, np.maximum(hematoxylin, 0), np.maximum(eosin, 0.01))
    follicles = smooth_noise(scene.rng, scene.shape, scene.px(220))
    points = of_class(
        scene, scatter(scene.rng, scene.shape, scene.px(7.7 * look.density), 0.3), "lymphoid_tissue"
    )
    level = sample(follicles, points)
    dense = np.clip(1.15 - np.clip(level - 0.9, 0, 1) * 1.4 - 0.12 * np.abs(level), 0.08, 0.97)
    scene.add("lymphocyte", thin(scene, points, dense))
    large = of_class(scene, scatter(scene.rng, scene.shape, scene.px(12), 0.35), "lymphoid_tissue")
    level = sample(follicles, large)
    scene.add("epithelial", thin(scene, large, np.clip(level - 1.0, 0, 0.8)))


def paint_fat(scene: Scene, weight: F32) -> None:
    """Empty round cells within thin membranes, a flat nucleus here and there."""
    rng = scene.rng
    seeds = scatter(rng, scene.shape, scene.px(58 * scene.share(0.8, 1.25)), 0.32)
    coarse = weight[:: scene.mid, :: scene.mid] > 0
    nodes = scene.mid_points(coarse.astype(np.float32))
    warp = [smooth_noise(rng, coarse.shape, 18)[coarse] * np.float32(scene.px(3)) for _ in range(2)]
    reach = border_distance(seeds, nodes + np.stack(warp, axis=1))
    gap = np.full(coarse.shape, 1e3, dtype=np.float32)
    gap[coarse] = reach * np.float32(scene.config.mpp)
    thick = 1.45 + 0.2 * smooth_noise(rng, coarse.shape, 30)
    septa = smooth_noise(rng, coarse.shape, 130)
    thick += 4 * ramp(septa, 1.5, 2.6)
    margin = upsample(gap - thick, scene.mid, scene.shape)
    membrane = 1 - ramp(margin, -0.6, 0.6)
    eosin = 0.015 + membrane * (0.26 + 0.05 * scene.grain)
    hematoxylin = 0.008 + membrane * 0.04
    blend(scene, weight, hematoxylin, eosin)
    edge = scatter(rng, scene.shape, scene.px(11), 0.6)
    edge = of_class(scene, edge, "fat")
    edge = thin(scene, edge[sample(membrane, edge) > 0.6], 0.22)
    scene.add("stromal", edge, scene.slope(gap, edge) + np.float32(math.pi / 2))


def paint_necrosis(scene: Scene, weight: F32) -> None:
    """Structureless eosinophilic ground with ghosts and nuclear dust."""
    rng = scene.rng
    blotch = smooth_noise(rng, scene.shape, scene.px(30))
    flecks = smooth_noise(rng, scene.shape, scene.px(3.5))
    strength = scene.share(0.22, 0.40)
    eosin = strength * (1 + 0.2 * blotch + 0.16 * scene.mottle + 0.14 * flecks + 0.1 * scene.grain)
    cracks = ramp(blotch + 0.8 * scene.mottle + 0.15 * flecks, -2.9, -2.0)
    eosin = np.maximum(eosin, 0.03) * (0.2 + 0.8 * cracks)
    hematoxylin = np.float32(0.055 * scene.look.basophilia) * (1 + 0.5 * flecks + 0.5 * blotch)
    blend(scene, weight, np.maximum(hematoxylin, 0.005), eosin)
    spots = of_class(scene, scatter(rng, scene.shape, scene.px(15), 0.5), "necrosis")
    scene.add("ghost", thin(scene, spots, 0.35))
    dust = of_class(scene, scatter(rng, scene.shape, scene.px(5.5), 0.6), "necrosis")
    level = sample(blotch, dust)
    scene.add("debris", thin(scene, dust, np.clip(0.14 + 0.14 * level, 0.02, 0.6)))
    scene.add("lymphocyte", thin(scene, spots, 0.03))


def paint_mucus(scene: Scene, weight: F32) -> None:
    """Pale blue-grey pools with wisps; few floating cells."""
    rng, flow = scene.rng, scene.flow
    wisps = look_up(scene.bundles, flow.along * 0.7, flow.across * 0.5 + 400)
    fine = look_up(scene.fibrils, flow.along * 0.8 + 90, flow.across * 0.6)
    slow = smooth_noise(rng, scene.shape, scene.px(110))
    cloud = smooth_noise(rng, scene.shape, scene.px(38))
    body = ramp(
        0.55 * wisps + 0.25 * fine + 0.8 * slow + 0.55 * cloud + 0.3 * scene.mottle, -1.6, 2.6
    )
    strength = scene.share(0.14, 0.3)
    hematoxylin = np.float32(strength) * body * body * (1 + 0.12 * scene.grain) + np.float32(0.014)
    eosin = 0.02 + 0.28 * hematoxylin
    blend(scene, weight, hematoxylin, eosin)
    cells = of_class(scene, scatter(rng, scene.shape, scene.px(30), 0.8), "mucus")
    scene.add("lymphocyte", thin(scene, cells, 0.10))
    scene.add("debris", thin(scene, cells, 0.06))


MATRIX: dict[str, Callable[[Scene, F32], None]] = {
    "lymphoid_tissue": paint_lymphoid,
    "fat": paint_fat,
    "necrosis": paint_necrosis,
    "mucus": paint_mucus,
}
"""Painters of the classes that replace stroma; each gets its region's weight in 0..1."""
