"""Which tiles a step shows: every tile once an epoch, in an order that takes no memory."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

Numbers = Int64[NDArray[np.int64], " n"]

_ROUNDS = 6


def tiles_of_step(step: int, batch: int, num_tiles: int, seed: int) -> Numbers:
    """Numbers of the tiles of one global batch; depends on its arguments alone.

    Args:
        step: from 0.
        batch: tiles in a step.
        num_tiles: in all.
        seed: of the run.
    """
    places = np.arange(step * batch, (step + 1) * batch, dtype=np.int64)
    found = np.empty(batch, np.int64)
    for epoch in np.unique(places // num_tiles):
        rows = places // num_tiles == epoch
        found[rows] = shuffled(places[rows] % num_tiles, num_tiles, (seed, int(epoch)))
    return found


def shuffled(places: Numbers, num: int, key: tuple[int, ...]) -> Numbers:
    """Where places 0..num-1 come to lie in a permutation that is computed, not stored.

    A list of a billion places would fill a machine's memory in each of its processes.

    Source:
        Balanced Feistel network with cycle walking, Black & Rogaway 2002.
    """
    half = max(1, ((num - 1).bit_length() + 1) // 2)
    keys = np.random.default_rng(key).integers(1, 2**62, _ROUNDS, dtype=np.uint64)
    found = _mix(places.astype(np.uint64), half, keys)
    # The network permutes a power of four of places: walk on until back among the wanted.
    while (outside := found >= num).any():
        found[outside] = _mix(found[outside], half, keys)
    return found.astype(np.int64)


def _mix(places: NDArray[np.uint64], half: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = np.uint64((1 << half) - 1)
    left, right = places >> np.uint64(half), places & mask
    for key in keys:
        # An odd multiplier and a shift: the high bits hang on all of the low ones.
        word = (right ^ key) * np.uint64(0x9E3779B97F4A7C15)
        word ^= word >> np.uint64(29)
        word *= np.uint64(0xBF58476D1CE4E5B9)
        left, right = right, left ^ ((word >> np.uint64(31)) & mask)
    return (left << np.uint64(half)) | right
