"""Where each class lies: a tissue outline, cut into organic regions of one class each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from ruichat.slide.phantom.config import CLASS_INDEX, NO_TISSUE, PhantomConfig
from ruichat.slide.phantom.fields import (
    F32,
    Bool,
    Shape,
    grid_shape,
    nearest,
    scatter,
    smooth_noise,
    smoothed,
    upsample,
)

NODE_UM = 4.0
"""Spacing of the layout grid; borders are smooth below it."""


Box = tuple[slice, slice]


@dataclass(frozen=True)
class Region:
    """A window on one class: no other window of that class overlaps it.

    Attributes:
        key: the class.
        box: rows and columns, starting on multiples of the layout grid.
        weight: float32 of the box's size in 0..1, soft at the region's borders.
    """

    key: str
    box: Box
    weight: F32


@dataclass(frozen=True)
class Layout:
    """Regions of a phantom at full size.

    Attributes:
        classes: uint8 [h, w], index in CLASSES or NO_TISSUE.
        tissue: float32 [h, w] in 0..1, soft at the outline.
        regions: windows that cover every class present.
    """

    classes: NDArray[np.uint8]
    tissue: F32
    regions: tuple[Region, ...]

    def crop(self, box: Box) -> Layout:
        """A view of one window, without regions."""
        return Layout(self.classes[box], self.tissue[box], ())


def lay_out(config: PhantomConfig, rng: np.random.Generator) -> Layout:
    """Draw the class map."""
    shape = (config.height0, config.width0)
    step = max(1, round(NODE_UM / config.mpp))
    coarse = grid_shape(shape, step)
    node_um = step * config.mpp
    edge = outline(config, rng, coarse, node_um)
    region = assign_regions(config, rng, edge > 0, node_um)
    tissue = upsample(edge, step, shape)
    classes = np.full(shape, NO_TISSUE, dtype=np.uint8)
    best = np.full(shape, -1.0, dtype=np.float32)
    regions: list[Region] = []
    for key, index in CLASS_INDEX.items():
        where = region == index
        blurred = smoothed(where.astype(np.float32), 1.0)
        for top, bottom, left, right in disjoint_boxes(where):
            box = (
                slice(top * step, min(bottom * step, shape[0])),
                slice(left * step, min(right * step, shape[1])),
            )
            part = classes[box]
            soft = upsample(blurred[top:bottom, left:right], step, part.shape)
            part[soft > best[box]] = index
            np.maximum(best[box], soft, out=best[box])
            regions.append(Region(key, box, np.clip(soft * 2 - 0.5, 0, 1)))
    classes[tissue <= 0] = NO_TISSUE
    return Layout(classes, np.clip(tissue * np.float32(12), 0, 1), tuple(regions))


def disjoint_boxes(where: Bool) -> list[tuple[int, int, int, int]]:
    """Boxes (top, bottom, left, right) round the patches of a mask; overlapping ones merged."""
    labels = np.asarray(cast("tuple[Any, int]", label(where))[0])
    rows, cols = where.shape
    boxes = [
        (max(0, y.start - 4), min(rows, y.stop + 4), max(0, x.start - 4), min(cols, x.stop + 4))
        for y, x in cast("list[Box]", find_objects(labels))
    ]
    merged: list[tuple[int, int, int, int]] = []
    while boxes:
        box = boxes.pop()
        for other in merged:
            if box[0] < other[1] and other[0] < box[1] and box[2] < other[3] and other[2] < box[3]:
                merged.remove(other)
                # The union may touch others, so it goes through the queue once more.
                pairs = zip(box, other, (min, max, min, max), strict=True)
                top, bottom, left, right = (pick(a, b) for a, b, pick in pairs)
                boxes.append((top, bottom, left, right))
                break
        else:
            merged.append(box)
    return sorted(merged)


def assign_regions(
    config: PhantomConfig, rng: np.random.Generator, tissue: Bool, node_um: float
) -> NDArray[np.uint8]:
    """Class index per node of the coarse grid: warped Voronoi cells, dealt out by the mix."""
    coarse: Shape = (tissue.shape[0], tissue.shape[1])
    spacing = config.region_mm * 1000 / node_um
    seeds = scatter(rng, coarse, spacing, jitter=0.35)
    y, x = np.mgrid[0 : coarse[0], 0 : coarse[1]].astype(np.float32)
    for scale_um, amplitude_um in ((260.0, 55.0), (70.0, 11.0), (25.0, 3.0)):
        scale, amplitude = scale_um / node_um, amplitude_um / node_um
        amplitude *= min(1.0, config.region_mm / 0.4)
        x = x + amplitude * smooth_noise(rng, coarse, scale)
        y = y + amplitude * smooth_noise(rng, coarse, scale)
    _, cell = nearest(seeds, np.stack([x, y], axis=-1))
    area = np.bincount(cell[tissue], minlength=len(seeds)).astype(np.float64)
    return deal(config, rng, area)[cell]


def deal(
    config: PhantomConfig, rng: np.random.Generator, area: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Give each cell the class furthest below its wanted share, largest cells first."""
    keys = [key for key, share in config.mix.items() if share > 0]
    keys = [keys[i] for i in rng.permutation(len(keys))]
    share = np.array([config.mix[key] for key in keys])
    wanted = share / share.sum() * area.sum()
    given = np.zeros(len(area), dtype=np.uint8)
    for cell in np.argsort(-area * rng.uniform(0.6, 1.0, len(area))):
        pick = int(np.argmax(wanted))
        given[cell] = CLASS_INDEX[keys[pick]]
        wanted[pick] -= area[cell]
    return given


def outline(config: PhantomConfig, rng: np.random.Generator, coarse: Shape, node_um: float) -> F32:
    """Signed field on the coarse grid, positive on tissue, about 1 deep inside."""
    if config.fill:
        return np.ones(coarse, dtype=np.float32)
    rows, cols = coarse
    y, x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    middle = rng.uniform(0.46, 0.54, 2)
    radius = rng.uniform(0.40, 0.46, 2)
    squared = ((x / cols - middle[0]) / radius[0]) ** 2 + ((y / rows - middle[1]) / radius[1]) ** 2
    field = (1 - squared**0.75).astype(np.float32)
    extent = min(rows, cols)
    field += 0.16 * smooth_noise(rng, coarse, extent * 0.3)
    field += 0.05 * smooth_noise(rng, coarse, extent * 0.09)
    fine = min(1.0, 400 / (extent * node_um)) * 0.05
    field += np.float32(fine) * smooth_noise(rng, coarse, 30 / node_um)
    # A soft push away from the field's edge, else the outline would be cut straight there.
    border = np.minimum(np.minimum(x, cols - 1 - x), np.minimum(y, rows - 1 - y))
    field -= 0.7 * np.clip(1 - border / np.float32(0.08 * extent), 0, 1)
    edge: Bool = (x < 2) | (y < 2) | (x > cols - 3) | (y > rows - 3)
    return np.where(edge, np.float32(-1), field).astype(np.float32)
