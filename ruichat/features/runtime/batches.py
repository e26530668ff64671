"""Batches that fit memory: a first guess, and half as many whenever it wasn't enough."""

from __future__ import annotations

import gc
import logging

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray

from ruichat.errors import ModelError
from ruichat.features.runtime.runners import Runner, Tiles

log = logging.getLogger(__name__)

_WORDS = ("DefaultCPUAllocator", "out of memory", "bad_alloc", "Cannot allocate memory")


class Batches:
    """Runs tiles in as large batches as memory holds; no tile is lost when one doesn't fit.

    Args:
        run: encodes one batch.
        size: tiles per batch to begin with.
    """

    def __init__(self, run: Runner, size: int) -> None:
        self._run = run
        self.size = max(1, size)

    def __call__(self, tiles: Tiles) -> Float32[NDArray[np.float32], "n d"]:
        """Embeddings of all tiles [n,h,w,3], in order.

        Raises:
            ModelError: not even one tile fits.
        """
        parts: list[NDArray[np.float32]] = []
        done = 0
        while done < len(tiles):
            part = tiles[done : done + self.size]
            found = self._try(part)
            if found is None:
                self._halve(len(part))
            else:
                parts.append(found)
                done += len(part)
        return np.concatenate(parts)

    def _try(self, tiles: Tiles) -> NDArray[np.float32] | None:
        try:
            return self._run(tiles)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _halve(self, tried: int) -> None:
        if tried == 1:
            raise ModelError(
                "memory doesn't suffice to encode a single tile",
                hint="Close other programs, take a smaller encoder, or run on another device",
            )
        self.size = tried // 2
        log.warning("memory ran out at %d tiles a batch; now %d", tried, self.size)
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less work at once may help; libraries report it in several ways."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)
