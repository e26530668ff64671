"""Shapes in a mask: specks, gaps, and pale parts that hang on to strong ones."""

from __future__ import annotations

from typing import cast

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray
from scipy import ndimage

from ruichat.slide.arrays import Bools


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
    grown = near(np.pad(mask, int(radius) + 1), radius)
    shrunk = ~near(~grown, radius)
    edge = int(radius) + 1
    return shrunk[edge:-edge, edge:-edge] | mask


def near(mask: Bool[Bools, "h w"], radius: float) -> Bool[Bools, "h w"]:
    """Cells whose centre is at most `radius` cells away from that of a True one.

    Rows of the disk are laid over each other, which for the radii used here is several times as
    fast as a distance transform.
    """
    reach = int(radius)
    if reach == 0 or not mask.any():
        return mask.copy() if radius >= 0 else np.zeros_like(mask)
    height = len(mask)
    padded = np.pad(mask, ((reach, reach), (0, 0)))
    wide = padded.copy()
    found = np.zeros_like(mask)
    half = 0
    for dy in range(reach, -1, -1):  # from the disk's narrow ends to its middle
        while (half + 1) ** 2 + dy**2 <= radius**2:
            half += 1
            wide[:, half:] |= padded[:, :-half]
            wide[:, :-half] |= padded[:, half:]
        for shift in {reach - dy, reach + dy}:
            found |= wide[shift : shift + height]
    return found


def _label(mask: Bool[Bools, "h w"]) -> tuple[NDArray[np.int32], int]:
    return cast(tuple[NDArray[np.int32], int], ndimage.label(mask))
