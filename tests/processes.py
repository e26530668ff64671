"""What a process and its children hold: memory, descriptors, threads; from Linux' /proc."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Held:
    """What a family of processes holds at a moment.

    Attributes:
        own_mb: memory of the process itself; what several share counts in parts (10^6 bytes).
        all_mb: with its children's.
        files: open descriptors of the process itself.
        threads: of the process itself.
        children: processes that it has started, and these in turn.
    """

    own_mb: float
    all_mb: float
    files: int
    threads: int
    children: int


def held(pid: int) -> Held:
    """What a process and its children hold now."""
    place = Path(f"/proc/{pid}")
    own = memory_mb(pid)
    children = list(family(pid))
    return Held(
        own,
        own + sum(map(memory_mb, children)),
        len(list((place / "fd").iterdir())),
        len(list((place / "task").iterdir())),
        len(children),
    )


def memory_mb(pid: int) -> float:
    """Proportional set size; 0 for a process that is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def family(pid: int) -> Iterator[int]:
    """Children of a process, and theirs."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from family(child)
