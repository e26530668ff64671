"""Shapes in a mask: specks, gaps, and pale parts that hang on to strong ones."""

from __future__ import annotations

from typing import cast

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from scipy import ndimage

from ruichat.slide.arrays import Bools, Floats


def without_small(mask: Bool[Bools, "h w"], min_cells: float) -> Bool[Bools, "h w"]:
    """The mask without connected parts of fewer than `min_cells` cells."""
    labels, num = _label(mask)
    if num == 0:
        return mask
    keep = np.bincount(labels.ravel()) >= min_cells
    keep[0] = False
    return keep[labels]


def without_holes(mask: Bool[Bools, "h w"], max_cells: float) -> Bool[Bools, "h w"]:
    """The mask with enclosed gaps of fewer than `max_cells` cells filled."""
    return ~without_small(~mask, max_cells)


def touching(
    mask: Bool[Bools, "h w"], seeds: Bool[Bools, "h w"], min_share: float
) -> Bool[Bools, "h w"]:
    """Connected parts of the mask of which at least `min_share` are seeds."""
    labels, num = _label(mask)
    cells = np.bincount(labels.ravel(), minlength=num + 1)
    hits = np.bincount(labels[seeds], minlength=num + 1)
    keep = (hits > 0) & (hits >= min_share * cells)
    keep[0] = False
    return keep[labels]


def closed(mask: Bool[Bools, "h w"], radius: float) -> Bool[Bools, "h w"]:
    """The mask with gaps narrower than twice `radius` cells bridged; outside counts as gap."""
    if radius < 1 or not mask.any():
        return mask
    grown = distance_to(np.pad(mask, int(radius) + 1)) <= radius
    shrunk = distance_to(~grown) > radius
    edge = int(radius) + 1
    return shrunk[edge:-edge, edge:-edge] | mask


def distance_to(mask: Bool[Bools, "h w"]) -> Float32[Floats, "h w"]:
    """Distance of each cell to the nearest True one, in cells; infinite if there is none."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return cast(Floats, ndimage.distance_transform_edt(~mask)).astype(np.float32)


def _label(mask: Bool[Bools, "h w"]) -> tuple[NDArray[np.int32], int]:
    return cast(tuple[NDArray[np.int32], int], ndimage.label(mask))
