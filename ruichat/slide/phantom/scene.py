"""The canvas a phantom is drawn on: stain amounts, flow of fibres and the list of nuclei."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from ruichat.slide.phantom.config import CLASS_INDEX, PhantomConfig
from ruichat.slide.phantom.fields import (
    F32,
    Shape,
    distance_to,
    inside,
    look_up,
    sample,
    smooth_noise,
    stretched_table,
)
from ruichat.slide.phantom.layout import Box, Layout
from ruichat.slide.phantom.look import Look

MID_UM = 2.0
"""Spacing of the grid on which nests, lumens and fat cells are computed."""


@dataclass(frozen=True)
class Flow:
    """Curved coordinates: fibres run along `along`, and lie side by side along `across` (px)."""

    along: F32
    across: F32


@dataclass
class Nuclei:
    """Nuclei of one kind, to be stamped together."""

    kind: str
    points: F32
    angles: F32


@dataclass
class Scene:
    """Everything the tissue painters share; they change `hematoxylin`, `eosin`, `blood`, `nuclei`.

    Attributes:
        hematoxylin, eosin, blood: float32 [h, w], stain amounts without nuclei.
        grain: noise of 2-3 px, the granularity of cytoplasm and matrix.
        mottle: noise of about 14 um.
        nuclei: groups of nuclei in coordinates of the whole field.
        origin: x, y of this window in the whole field, pixels.
    """

    config: PhantomConfig
    look: Look
    rng: np.random.Generator
    layout: Layout
    hematoxylin: F32
    eosin: F32
    blood: F32
    flow: Flow
    fibrils: F32
    bundles: F32
    grain: F32
    mottle: F32
    nuclei: list[Nuclei] = field(default_factory=list[Nuclei])
    origin: tuple[int, int] = (0, 0)

    @property
    def shape(self) -> Shape:
        """Rows and columns."""
        return (self.hematoxylin.shape[0], self.hematoxylin.shape[1])

    def crop(self, box: Box) -> Scene:
        """The same scene seen through a window: arrays are views, nuclei go to the same list."""
        flow = Flow(self.flow.along[box], self.flow.across[box])
        return replace(
            self,
            layout=self.layout.crop(box),
            hematoxylin=self.hematoxylin[box],
            eosin=self.eosin[box],
            blood=self.blood[box],
            flow=flow,
            grain=self.grain[box],
            mottle=self.mottle[box],
            origin=(self.origin[0] + box[1].start, self.origin[1] + box[0].start),
        )

    @property
    def mid(self) -> int:
        """Pixels per node of the middle grid."""
        return max(1, round(MID_UM / self.config.mpp))

    def px(self, length_um: float) -> float:
        """A length in pixels."""
        return length_um / self.config.mpp

    def share(self, low: float, high: float) -> float:
        """A uniform random number, or the middle of the range where nothing may vary."""
        return float(self.rng.uniform(low, high)) if self.config.randomise else (low + high) / 2

    def depth_um(self, key: str) -> F32:
        """Distance to the border of that class's regions, on the middle grid, 0 outside."""
        where = self.layout.classes[:: self.mid, :: self.mid] == CLASS_INDEX[key]
        return distance_to(~where) * np.float32(self.mid * self.config.mpp)

    def mid_points(self, mask: F32) -> F32:
        """Full-size coordinates [n, 2] of the nonzero nodes of a middle grid."""
        row, col = np.nonzero(mask)
        return np.stack([col, row], axis=1).astype(np.float32) * self.mid

    def slope(self, field: F32, points: F32) -> F32:
        """Direction in which a field on the middle grid rises, at points, radians."""
        down, right = (np.asarray(part) for part in np.gradient(field))
        row = np.minimum((points[:, 1] / self.mid).astype(np.intp), field.shape[0] - 1)
        col = np.minimum((points[:, 0] / self.mid).astype(np.intp), field.shape[1] - 1)
        return np.arctan2(down[row, col], right[row, col]).astype(np.float32)

    def add(self, kind: str, points: F32, angles: F32 | None = None) -> None:
        """Add nuclei; those off the tissue or out of the field are dropped."""
        kept = inside(points, self.shape)
        kept[kept] &= sample(self.layout.tissue, points[kept]) > 0.5
        if angles is None:
            angles = self.rng.uniform(0, math.pi, len(points)).astype(np.float32)
        placed = points[kept] + np.array(self.origin, dtype=np.float32)
        self.nuclei.append(Nuclei(kind, placed, np.asarray(angles, dtype=np.float32)[kept]))


def make_flow(rng: np.random.Generator, shape: Shape, mpp: float) -> Flow:
    """Swirling fibre coordinates with wavy fibres."""
    turn = rng.uniform(0, math.pi)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    swirl, wave = 48 / mpp, 1.3 / mpp
    across = x * np.float32(-math.sin(turn)) + y * np.float32(math.cos(turn))
    across += np.float32(swirl) * smooth_noise(rng, shape, 260 / mpp)
    across += np.float32(wave) * smooth_noise(rng, shape, 15 / mpp)
    across += np.float32(5 / mpp) * smooth_noise(rng, shape, 55 / mpp)
    across += np.float32(0.5 / mpp) * smooth_noise(rng, shape, 6 / mpp)
    along = x * np.float32(math.cos(turn)) + y * np.float32(math.sin(turn))
    along += np.float32(swirl) * smooth_noise(rng, shape, 300 / mpp)
    return Flow(along, across)


def flow_angle(flow: Flow, points: F32, step: int = 6) -> F32:
    """Direction of the fibres at points inside the field, radians."""
    rows, cols = flow.across.shape
    x = np.clip(points[:, 0].astype(np.intp), step, cols - 1 - step)
    y = np.clip(points[:, 1].astype(np.intp), step, rows - 1 - step)
    dx = flow.across[y, x + step] - flow.across[y, x - step]
    dy = flow.across[y + step, x] - flow.across[y - step, x]
    return np.arctan2(-dx, dy).astype(np.float32)


def new_scene(config: PhantomConfig, look: Look, layout: Layout, rng: np.random.Generator) -> Scene:
    """An empty scene with its shared noise."""
    shape = (config.height0, config.width0)
    zero = np.zeros(shape, dtype=np.float32)
    half = 0.5 / config.mpp
    return Scene(
        config=config,
        look=look,
        rng=rng,
        layout=layout,
        hematoxylin=zero,
        eosin=zero.copy(),
        blood=zero.copy(),
        flow=make_flow(rng, shape, config.mpp),
        fibrils=stretched_table(rng, 18 * half, 1.25 * half),
        bundles=stretched_table(rng, 40 * half, 4.0 * half),
        grain=smooth_noise(rng, shape, 1.4 / config.mpp),
        mottle=smooth_noise(rng, shape, 14 / config.mpp),
    )


def fibre_texture(scene: Scene) -> tuple[F32, F32]:
    """Fibrils and bundles along the scene's flow, full size, standard deviation about 1."""
    flow = scene.flow
    fibrils = look_up(scene.fibrils, flow.across, flow.along)
    bundles = look_up(scene.bundles, flow.across + np.float32(311), flow.along + np.float32(173))
    return fibrils, bundles
