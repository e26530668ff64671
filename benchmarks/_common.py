"""What the benchmarks share: the machine, its rooflines, fair repeats, how figures are printed."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ruichat", "numpy", "openslide-python", "openvino", "torch", "transformers")

LARGE_BYTES = 1 << 29
"""More than the last cache holds, on all but servers whose cores share one of hundreds of MB."""
WIDTH = 120
"""Characters of a table that goes into a file."""
ROOFLINE_S = 1.0
"""For so long a roofline is measured: its best pass counts."""


@dataclass(frozen=True)
class Machine:
    """Where and when figures were taken.

    Attributes:
        cpu: the processor's own name.
        num_cpus: that this process may use.
        load_average: over the minute before the run; near 0 on a quiet machine.
        system: kernel and its architecture.
        versions: of Python and of the packages that compute.
    """

    cpu: str
    num_cpus: int
    load_average: float
    system: str
    versions: dict[str, str]

    @property
    def summary(self) -> str:
        """One line for a table."""
        return f"{self.num_cpus} x {self.cpu}, load average {self.load_average:.1f} before the run"


def machine() -> Machine:
    """This machine; to be called before anything is measured."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return Machine(
        cpu=_cpu_name(),
        num_cpus=num_cpus(),
        load_average=os.getloadavg()[0],
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions={"python": platform.python_version(), **versions},
    )


def num_cpus() -> int:
    """CPUs that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown CPU"


def new_parser(doc: str | None, *, threads: list[int], repeats: int) -> argparse.ArgumentParser:
    """The options of every benchmark that runs on given numbers of threads."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=threads)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--json", action="store_true")
    return parser


def one_and_two() -> list[int]:
    """Numbers of threads to compare: one, and two where there are two CPUs."""
    return sorted({1, min(2, num_cpus())})


def shared_slide(name: str) -> Path:
    """A development slide: in $RUICHAT_SHARED_DATA, else beside the checkout."""
    given = os.environ.get("RUICHAT_SHARED_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    return folder / "slides" / name


def interleave(runs: dict[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """What each way gives, each once a round: a change of the machine's speed meets them all.

    A round before the first warms caches and doesn't count.
    """
    for run in runs.values():
        run()
    found: dict[str, list[T]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            found[name].append(run())
    return found


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of some work."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def read_bandwidth(num_threads: int, num_bytes: int = LARGE_BYTES) -> float:
    """Bytes per second that a sum reads; the best pass.

    Args:
        num_threads: of torch.
        num_bytes: read in one pass. What fits a cache is read from there on the next pass, as
            weights are that every step reads again.
    """
    import torch

    torch.set_num_threads(num_threads)
    data = torch.ones(num_bytes // 4)
    return data.numel() * 4 / _best_s(data.sum)


def _best_s(work: Callable[[], object]) -> float:
    work()
    best, end = float("inf"), time.perf_counter() + ROOFLINE_S
    while time.perf_counter() < end:
        best = min(best, seconds(work))
    return best


def weight_bytes(model: Any) -> int:
    """Bytes of the weights that every step of a `NativeChatModel` reads."""
    layers = sum(
        value.nbytes
        for name, value in model.weights.items()
        if name.startswith(("language_model.layers", "lm_head"))
    )
    shape = model.shape
    return layers + (shape.vocab_size * shape.width * 4 if shape.tied else 0)


def cache_bytes(model: Any, length: float) -> float:
    """Bytes of keys and values after `length` text tokens."""
    shape = model.shape
    return 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * 4 * length


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


@contextmanager
def working(what: str) -> Generator[None]:
    """Say on stderr what is being measured, where somebody watches."""
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def new_table(title: str, *columns: str) -> Table:
    """A table; columns named nothing, `seconds` or `beside` hold words, all others numbers."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE, title_justify="left", title_style="")
    table.caption_justify, table.caption_style = "left", ""
    for column in columns:
        words = column in ("", "seconds", "beside")
        width = None if words else max(6, len(column))
        table.add_column(
            column, justify="left" if words else "right", no_wrap=True, min_width=width
        )
    return table


def publish(result: Any, table: RenderableType, *, as_json: bool) -> None:
    """The table on stdout; with JSON wanted, that on stdout and the table on stderr."""
    from rich.console import Console

    stream = sys.stderr if as_json else sys.stdout
    Console(file=stream, width=None if stream.isatty() else WIDTH).print(table)
    if as_json:
        json.dump(asdict(result), sys.stdout, ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
