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
        own_mb: memory that the process itself took (10^6 bytes), without files and what it shares
            with children: of these a larger part counts as its own once some children end.
        all_mb: all memory of the process and its children; what several share counts in parts.
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
    children = list(family(pid))
    return Held(
        memory_mb(pid, "Pss_Anon"),
        sum(map(memory_mb, (pid, *children))),
        len(list((place / "fd").iterdir())),
        len(list((place / "task").iterdir())),
        len(children),
    )


def memory_mb(pid: int, kind: str = "Pss") -> float:
    """Proportional set size, or a part of it; 0 for a process that is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def family(pid: int) -> Iterator[int]:
    """Children of a process, and theirs."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from family(child)
