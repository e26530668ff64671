"""How much memory is free, how much a module's activations take, how many tiles go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from ruichat.features.runtime.runners import TileModule

MOST_ON_CPU = 8
"""Tiles per call; more leave the caches and gain nothing."""

MOST_ON_GPU = 256

SHARE_OF_FREE = 0.5
"""Of the free memory that activations may take: libraries need working space of their own."""


def first_size(module: TileModule, size: tuple[int, int], *, device: str | None) -> int:
    """Tiles per batch whose activations take `SHARE_OF_FREE` of the free memory, a power of two.

    Args:
        module: on any device.
        size: height and width of the tiles.
        device: the GPU on which it runs; None for the CPU.
    """
    most = MOST_ON_CPU if device is None else MOST_ON_GPU
    fitting = SHARE_OF_FREE * free_bytes(device) / max(1, activation_bytes(module, size))
    return 1 << max(0, min(int(fitting), most).bit_length() - 1)


def free_bytes(device: str | None) -> int:
    """Memory that isn't in use, of that GPU or of the machine; 4 GiB where nobody says."""
    if device is not None:
        return torch.cuda.mem_get_info(device)[0]
    return min(_readings(), default=1 << 32)


def activation_bytes(module: TileModule, size: tuple[int, int]) -> int:
    """Most bytes alive at once while one tile is encoded, weights apart.

    Counted on shapes alone: nothing is computed.
    """
    shapes = {
        name: value.to("meta")
        for name, value in (*module.named_parameters(), *module.named_buffers())
    }
    tile = torch.empty((1, *size, 3), dtype=module.dtype, device="meta")
    with torch.no_grad(), _PeakBytes(shapes.values()) as peak:
        functional_call(module, shapes, (tile,))
    return peak.most


class _PeakBytes(TorchDispatchMode):
    """Follows the storages that operations make, but for the given ones, until they are freed."""

    def __init__(self, apart: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.most = 0
        self._sizes: WeakIdKeyDictionary = WeakIdKeyDictionary()
        for value in apart:
            self._sizes[value.untyped_storage()] = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                self._sizes.setdefault(storage, storage.nbytes())
        self.most = max(self.most, sum(self._sizes.values()))
        return result


def _readings() -> Iterator[int]:
    """What the kernel calls available, and what a container's limit leaves."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        yield next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:"))
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / "memory.current").read_text()) - int(stat.get("inactive_file", 0))
        yield max(0, limit - used)
