"""Speed of the tile encoder `mini` on each runtime, beside the machine's float32 GEMM peak.

Run: python benchmarks/tile_encoder.py [--json] [--threads 1 2]

Tiles come from a drawn phantom. A way's speed includes turning bytes into floats, as in the
product; its operations are those of the network's convolutions and products alone. OpenVINO may
choose convolutions that need fewer operations than counted, so its share is no upper bound.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
from _common import (
    Machine,
    interleave,
    machine,
    median,
    new_parser,
    new_table,
    one_and_two,
    publish,
    seconds,
    working,
)
from numpy.typing import NDArray

COLUMNS, ROWS = 8, 8
"""Tiles a side of the phantom: two batches of the product's."""
GEMM_SIDE = 2048

Tiles = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One way of encoding.

    Attributes:
        name: what encodes.
        num_threads: that it may use.
        num_streams: of OpenVINO, which give each call only their share of the threads.
        tiles_per_s: best of several repeats.
        median_tiles_per_s: of the same.
        gflop_s: at the best, by the operations counted.
        of_gemm: share of the GEMM peak with as many threads.
    """

    name: str
    num_threads: int
    num_streams: int
    tiles_per_s: float
    median_tiles_per_s: float
    gflop_s: float
    of_gemm: float


@dataclass(frozen=True)
class Difference:
    """How far embeddings of the two runtimes lie apart.

    Attributes:
        max_abs: largest difference of two numbers.
        rms: of torch's numbers, to compare it with.
        min_cosine: smallest over tiles.
    """

    max_abs: float
    rms: float
    min_cosine: float


@dataclass(frozen=True)
class Report:
    """Everything measured in one run."""

    machine: Machine
    repeats: int
    num_tiles: int
    tile_px: int
    gflop_per_tile: float
    gemm_gflop_s: dict[int, float]
    difference: Difference
    rows: list[Row]


@dataclass(frozen=True)
class Way:
    """A loaded encoder and the threads that it uses."""

    name: str
    num_threads: int
    num_streams: int
    encode: Callable[[Tiles], NDArray[np.float32]]


def main() -> None:
    parser = new_parser(__doc__, threads=one_and_two(), repeats=10)
    options = parser.parse_args()
    # The peak is the CPU's, so torch mustn't take a GPU.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    report = measure(options.threads, options.repeats)
    publish(report, tabulate(report), as_json=options.json)


def measure(threads: list[int], repeats: int) -> Report:
    """Encode the same tiles in every way."""
    here = machine()
    with working("drawing tiles"):
        tiles = draw_tiles()
    with working("loading encoders"):
        ways = [way for num in threads for way in load_ways(num)]
    flops = count_flops(tiles.shape[1])
    runs = {
        str(i): lambda way=way: seconds(lambda: way.encode(tiles)) for i, way in enumerate(ways)
    }
    products = {f"product {num}": product(num) for num in threads}
    with working("encoding"):
        taken_by = interleave(runs | products, repeats)
    times = [taken_by[str(i)] for i in range(len(ways))]
    peaks = {num: 2 * GEMM_SIDE**3 / min(taken_by[f"product {num}"]) for num in threads}
    rows: list[Row] = []
    for way, taken in zip(ways, times, strict=True):
        speed = len(tiles) / min(taken)
        rows.append(
            Row(
                name=way.name,
                num_threads=way.num_threads,
                num_streams=way.num_streams,
                tiles_per_s=speed,
                median_tiles_per_s=len(tiles) / median(taken),
                gflop_s=speed * flops / 1e9,
                of_gemm=speed * flops / peaks[way.num_threads],
            )
        )
    return Report(
        machine=here,
        repeats=repeats,
        num_tiles=len(tiles),
        tile_px=tiles.shape[1],
        gflop_per_tile=flops / 1e9,
        gemm_gflop_s={num: peak / 1e9 for num, peak in peaks.items()},
        difference=compare(ways[0].encode(tiles), ways[-1].encode(tiles)),
        rows=rows,
    )


def draw_tiles() -> Tiles:
    """Tiles of all tissue classes."""
    from ruichat.features.encoder import ENCODERS
    from ruichat.slide.phantom import PhantomConfig, draw_phantom

    card = ENCODERS.get("mini")
    side = card.tile_px
    config = PhantomConfig(
        seed=0, width0=COLUMNS * side, height0=ROWS * side, mpp=card.tile_mpp, fill=True
    )
    rgb = draw_phantom(config).rgb.reshape(ROWS, side, COLUMNS, side, 3)
    return np.ascontiguousarray(rgb.swapaxes(1, 2).reshape(-1, side, side, 3))


def load_ways(num_threads: int) -> list[Way]:
    """The encoder on OpenVINO as the product sets it, with a stream per thread, on torch."""
    return [
        openvino_way("OpenVINO", num_threads, {}),
        openvino_way("OpenVINO, for throughput", num_threads, {"PERFORMANCE_HINT": "THROUGHPUT"}),
        torch_way(num_threads),
    ]


def openvino_way(name: str, num_threads: int, changes: dict[str, Any]) -> Way:
    """The product's own compilation, its settings completed by the number of threads."""
    from ruichat.features.mini.encoder import MiniEncoder
    from ruichat.features.runtime.ways import RunConfig
    from ruichat.openvino import import_openvino

    core: Any = import_openvino().Core
    plain = core.compile_model
    streams: list[int] = []

    def compile_model(self: Any, model: Any, device: str, settings: dict[str, Any]) -> Any:
        threads = {"INFERENCE_NUM_THREADS": num_threads}
        compiled = plain(self, model, device, {**settings, **threads, **changes})
        streams.append(int(compiled.get_property("NUM_STREAMS")))
        return compiled

    with patch.object(core, "compile_model", compile_model):
        encoder = MiniEncoder.load(config=RunConfig(runtime="openvino"))
        encoder.encode(np.zeros((1, 64, 64, 3), np.uint8))  # compiles
    return Way(name, num_threads, streams[0], encoder.encode)


def torch_way(num_threads: int) -> Way:
    """The encoder on torch."""
    import torch

    from ruichat.features.mini.encoder import MiniEncoder
    from ruichat.features.runtime.ways import RunConfig

    encoder = MiniEncoder.load(config=RunConfig(runtime="torch"))

    def encode(tiles: Tiles) -> NDArray[np.float32]:
        torch.set_num_threads(num_threads)
        return encoder.encode(tiles)

    return Way("torch", num_threads, 1, encode)


def product(num_threads: int) -> Callable[[], float]:
    """Seconds of one product of square matrices, the fastest work there is for a CPU."""
    import torch

    left, right = torch.rand(GEMM_SIDE, GEMM_SIDE), torch.rand(GEMM_SIDE, GEMM_SIDE)
    out = torch.empty(GEMM_SIDE, GEMM_SIDE)

    def run() -> float:
        torch.set_num_threads(num_threads)
        return seconds(lambda: torch.mm(left, right, out=out))

    return run


def count_flops(tile_px: int) -> int:
    """Floating-point operations of one tile: twice the multiplications of the network."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ruichat.features.encoder import ENCODERS
    from ruichat.features.mini.network import MiniModule

    module = MiniModule(ENCODERS.get("mini")).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 3, tile_px, tile_px))
    return counter.get_total_flops()


def compare(found: NDArray[np.float32], expected: NDArray[np.float32]) -> Difference:
    """Embeddings of OpenVINO against those of torch."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return Difference(
        max_abs=float(np.abs(found - expected).max()),
        rms=float(np.sqrt(np.square(expected).mean())),
        min_cosine=float(((found * expected).sum(axis=1) / lengths).min()),
    )


def tabulate(report: Report) -> Any:
    """Ways in rows; the GEMM peak and the difference below them."""
    table = new_table(
        f"encoder mini, {report.num_tiles} tiles of {report.tile_px} px, "
        f"{report.gflop_per_tile:.2f} GFLOP each\n{report.machine.summary}",
        *("", "threads", "streams", "tiles/s", "median", "GFLOP/s", "of GEMM"),
    )
    for row in sorted(report.rows, key=lambda row: row.num_threads):
        table.add_row(
            row.name,
            str(row.num_threads),
            str(row.num_streams),
            f"{row.tiles_per_s:.1f}",
            f"{row.median_tiles_per_s:.1f}",
            f"{row.gflop_s:.0f}",
            f"{row.of_gemm:.2f}",
        )
    for num, peak in report.gemm_gflop_s.items():
        table.add_row("GEMM peak, float32", str(num), "", "", "", f"{peak:.0f}", "1.00")
    gap = report.difference
    table.caption = (
        f"OpenVINO and torch differ by at most {gap.max_abs:.1e} (rms {gap.rms:.2f}); "
        f"smallest cosine {gap.min_cosine:.8f}"
    )
    return table


if __name__ == "__main__":
    main()
