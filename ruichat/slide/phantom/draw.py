"""Draw one phantom: layout, painters, nuclei, optics; and the truth that goes with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ruichat.slide.phantom.artefacts import disturb_light, disturb_stains
from ruichat.slide.phantom.config import CLASS_INDEX, NUCLEUS_KINDS, PhantomConfig
from ruichat.slide.phantom.epithelium import EPITHELIUM
from ruichat.slide.phantom.fields import F32, distance_to, upsample
from ruichat.slide.phantom.layout import lay_out
from ruichat.slide.phantom.look import choose_look
from ruichat.slide.phantom.matrix import (
    MATRIX,
    paint_stroma,
    scatter_stromal_nuclei,
)
from ruichat.slide.phantom.optics import expose, transmit
from ruichat.slide.phantom.scene import Scene, new_scene
from ruichat.slide.phantom.sprites import STYLES, draw_bank, stamp
from ruichat.slide.phantom.vessels import paint_vessels
from ruichat.units import UM2_PER_MM2

MARGIN_UM = 32.0
"""Half width of the largest sprite, with room to spare."""
REACH_UM = 45.0
"""Stroma this near to a gland or nest counts as part of its region, as annotators draw it."""
KIND_OF = {"columnar_tumour": "tumour"}
"""Styles that are the same kind in the truth."""


@dataclass(frozen=True)
class NucleusTruth:
    """Every nucleus drawn.

    Attributes:
        xy0: float32 [m, 2], centres in level-0 pixels.
        kind: uint8 [m], index in NUCLEUS_KINDS.
    """

    xy0: F32
    kind: NDArray[np.uint8]


@dataclass(frozen=True)
class Phantom:
    """A drawn slide and its exact truth.

    Attributes:
        rgb: uint8 [h, w, 3].
        classes: uint8 [h, w], index in histology.CLASSES, or 255 where there is no tissue.
        nuclei: every nucleus with its kind.
        artefacts: uint8 [h, w], bit i set where artefact i of ALL_ARTEFACTS lies.
        areas_mm2: class key -> area, classes present only.
        mitoses: number of dividing nuclei.
        seed: the config's seed.
        config: what it was drawn from.
    """

    rgb: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    nuclei: NucleusTruth
    artefacts: NDArray[np.uint8]
    areas_mm2: dict[str, float]
    mitoses: int
    seed: int
    config: PhantomConfig


def draw_phantom(config: PhantomConfig) -> Phantom:
    """Draw a slide; the same config gives the same pixels on the same NumPy."""
    rng = np.random.default_rng([config.seed, 20260])
    look = choose_look(rng, randomise=config.randomise)
    layout = lay_out(config, rng)
    scene = new_scene(config, look, layout, rng)
    paint_tissue(scene)
    stamp_nuclei(scene)
    artefacts = np.zeros(scene.shape, dtype=np.uint8)
    disturb_stains(scene, artefacts)
    light = transmit([scene.hematoxylin, scene.eosin, scene.blood], look.stains, look.background)
    disturb_light(scene, light, artefacts)
    rgb = expose(light, look, rng)
    nuclei = gather(scene)
    return Phantom(
        rgb=rgb,
        classes=layout.classes,
        nuclei=nuclei,
        artefacts=artefacts,
        areas_mm2=measure(layout.classes, config.mpp),
        mitoses=int(np.count_nonzero(nuclei.kind == NUCLEUS_KINDS.index("mitosis"))),
        seed=config.seed,
        config=config,
    )


def paint_tissue(scene: Scene) -> None:
    """Stroma first, then everything that lies in it."""
    paint_stroma(scene)
    free = np.ones(scene.shape, dtype=np.bool_)
    for region in scene.layout.regions:
        window = scene.crop(region.box)
        if region.key in EPITHELIUM:
            mask = EPITHELIUM[region.key](window)
            free[region.box] &= mask < 0.05
            call_stroma(window, region.key, mask)
    for region in scene.layout.regions:
        if region.key in MATRIX:
            MATRIX[region.key](scene.crop(region.box), region.weight)
    scatter_stromal_nuclei(scene, free)
    paint_vessels(scene, free)
    scene.hematoxylin *= scene.layout.tissue
    scene.eosin *= scene.layout.tissue
    scene.blood *= scene.layout.tissue


def call_stroma(window: Scene, key: str, mask: F32) -> None:
    """Relabel what lies far from any gland or nest of its region: it is stroma to any eye."""
    near = mask[:: window.mid, :: window.mid] > 0.5
    away_um = distance_to(near) * np.float32(window.mid * window.config.mpp)
    bare = upsample(away_um, window.mid, window.shape) > REACH_UM
    bare &= window.layout.classes == CLASS_INDEX[key]
    window.layout.classes[bare] = CLASS_INDEX["stroma"]


def stamp_nuclei(scene: Scene) -> None:
    """Draw all nuclei and apply the stains' strengths."""
    rng, look = scene.rng, scene.look
    margin = int(scene.px(MARGIN_UM))
    padded = (scene.shape[0] + 2 * margin, scene.shape[1] + 2 * margin)
    keep = np.ones(padded, dtype=np.float32)
    amount = np.zeros(padded, dtype=np.float32)
    for kind in (
        "ghost",
        "stromal",
        "epithelial",
        "lymphocyte",
        "columnar_tumour",
        "tumour",
        "debris",
        "mitosis",
    ):
        groups = [group for group in scene.nuclei if group.kind == kind and len(group.points)]
        if not groups:
            continue
        bank = draw_bank(STYLES[kind], look, scene.config.mpp, rng)
        points = np.concatenate([group.points for group in groups])
        angles = np.concatenate([group.angles for group in groups])
        stamp(bank, points, angles, keep, amount, margin, rng)
    core = (slice(margin, -margin), slice(margin, -margin))
    scene.hematoxylin *= keep[core]
    scene.hematoxylin += amount[core]
    scene.hematoxylin *= np.float32(look.hematoxylin)
    scene.eosin *= (0.45 + 0.55 * keep[core]) * np.float32(look.eosin)


def gather(scene: Scene) -> NucleusTruth:
    """All nuclei of the scene in one table."""
    groups = [group for group in scene.nuclei if len(group.points)]
    if not groups:
        return NucleusTruth(np.zeros((0, 2), dtype=np.float32), np.zeros(0, dtype=np.uint8))
    kinds = [
        np.full(len(g.points), NUCLEUS_KINDS.index(KIND_OF.get(g.kind, g.kind)), dtype=np.uint8)
        for g in groups
    ]
    return NucleusTruth(np.concatenate([g.points for g in groups]), np.concatenate(kinds))


def measure(classes: NDArray[np.uint8], mpp: float) -> dict[str, float]:
    """Area of each class present, mm²."""
    counts = Image.fromarray(classes).histogram()
    scale = mpp * mpp / UM2_PER_MM2
    return {key: float(counts[i] * scale) for key, i in CLASS_INDEX.items() if counts[i]}
