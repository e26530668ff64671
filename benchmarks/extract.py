"""Speed of extraction beside its encoder fed from memory, and of encoders beside the GEMM peak.

Run: python benchmarks/extract.py [--json] [--threads 1 2] [--repeats 3]

Extraction goes from a drawn JPEG pyramid on disk to a bag on disk: opening, tissue, grid, reading,
measuring, encoding, writing. "From memory" encodes the same tiles in the same batches. Vision
transformers have random weights, which take as long as any. An encoder's operations are those of
its products and convolutions; the peak is a product of large square matrices in that precision.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from tiles import write_pyramid

GEMM_SIDE = 2048
NUM_TILES = 8
"""That an encoder is timed on beside the peak: one batch of the product's on a CPU."""

SIDES = {"mini": 8192, "dinov2-small": 6144}
"""Of the pyramid that is extracted with each encoder, pixels: some seconds of work."""

VITS = {"dinov2-small": "ViT-S/14", "dinov2-base": "ViT-B/14"}
WAYS = ("openvino-fp32", "torch-fp32", "openvino-bf16")

Tiles = NDArray[np.uint8]


@dataclass(frozen=True)
class Extraction:
    """One encoder, from a file and from memory.

    Attributes:
        name: of the encoder.
        way: in which it runs.
        num_tiles: in the bag.
        tiles_per_s: from file to bag, best of several repeats.
        median_tiles_per_s: of the same.
        from_memory: tiles per second of the encoder alone, best.
        of_memory: median over rounds of the ratio of both.
    """

    name: str
    way: str
    num_tiles: int
    tiles_per_s: float
    median_tiles_per_s: float
    from_memory: float
    of_memory: float


@dataclass(frozen=True)
class Encoding:
    """One encoder, run in one way.

    Attributes:
        name: of the architecture.
        way: runtime and precision.
        num_threads: that it may use.
        tiles_per_s: best of several repeats.
        median_tiles_per_s: of the same.
        gflop_s: at the best, by the operations counted.
        gemm_gflop_s: the peak in that precision with as many threads, best.
        of_gemm: share of the peak.
    """

    name: str
    way: str
    num_threads: int
    tiles_per_s: float
    median_tiles_per_s: float
    gflop_s: float
    gemm_gflop_s: float
    of_gemm: float


@dataclass(frozen=True)
class Report:
    """Everything measured in one run."""

    machine: Machine
    repeats: int
    extractions: list[Extraction]
    encodings: list[Encoding]


def main() -> None:
    parser = new_parser(__doc__, threads=one_and_two(), repeats=3)
    options = parser.parse_args()
    # The peak is the CPU's, so torch mustn't take a GPU; its idle threads mustn't spin.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    here = machine()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["RUICHAT_CACHE"] = scratch
        extractions = [measure_extraction(name, Path(scratch), options.repeats) for name in SIDES]
        encodings = measure_encodings(options.threads, options.repeats)
    report = Report(here, options.repeats, extractions, encodings)
    publish(report, tabulate(report), as_json=options.json)


def measure_extraction(name: str, scratch: Path, repeats: int) -> Extraction:
    """Extract a drawn slide and encode its tiles from memory, in turns."""
    from ruichat.features.bag import FeatureBag
    from ruichat.features.extract import BATCH_TILES, ExtractConfig, extract_file
    from ruichat.slide.opening import open_slide

    path, bag_path = scratch / f"{name}.tif", scratch / f"{name}.h5"
    with working(f"{name}: writing a slide"):
        write_pyramid(path, SIDES[name])
    with working(f"{name}: choosing how it runs"):
        encoder = load(name)
    config = ExtractConfig.for_encoder(encoder.card)

    def extract() -> None:
        with open_slide(path) as slide:
            extract_file(slide, encoder, config, bag_path)

    extract()
    bag = FeatureBag.load(bag_path)
    with open_slide(path) as slide:
        tiles = slide.read_tiles(bag.xy0, span0=bag.span0, tile_px=bag.tile_px)

    def from_memory() -> float:
        batches = range(0, len(tiles), BATCH_TILES)
        return seconds(lambda: [encoder.encode(tiles[i : i + BATCH_TILES]) for i in batches])

    with working(f"{name}: extracting"):
        times = interleave({"file": lambda: seconds(extract), "memory": from_memory}, repeats)
    shares = [memory / file for file, memory in zip(times["file"], times["memory"], strict=True)]
    return Extraction(
        name=VITS.get(name, name),
        way=str(encoder.way),
        num_tiles=len(tiles),
        tiles_per_s=len(tiles) / min(times["file"]),
        median_tiles_per_s=len(tiles) / median(times["file"]),
        from_memory=len(tiles) / min(times["memory"]),
        of_memory=median(shares),
    )


def load(name: str, way: str = "", num_threads: int | None = None) -> Any:
    """An encoder, in the way that is fastest here if none is given; ViTs with random weights."""
    from ruichat.features.encoder import ENCODERS, load_encoder
    from ruichat.features.runtime.encoder import ModuleEncoder, Parts
    from ruichat.features.runtime.ways import RunConfig, Way
    from ruichat.storage.artifacts import cache_dir

    run = RunConfig.of(Way.parse(way), num_threads=num_threads) if way else RunConfig()
    card = ENCODERS.get(name)
    if card.architecture is None:
        return load_encoder(name, run=run)
    parts = Parts(random_module(name))
    return ModuleEncoder(card, lambda: parts, name, run, cache=cache_dir())


@functools.cache
def random_module(name: str, device: str = "cpu") -> Any:
    """The architecture of a card with random weights."""
    import torch

    from ruichat.features.encoder import ENCODERS
    from ruichat.registry import load_object

    architecture = ENCODERS.get(name).architecture
    assert architecture is not None
    torch.manual_seed(0)
    build: Any = load_object(architecture.build)
    with torch.device(device):
        return build(**architecture.options).eval().requires_grad_(False)


def measure_encodings(threads: list[int], repeats: int) -> list[Encoding]:
    """Vision transformers in every way, and products of matrices, in turns."""
    import torch

    from ruichat.features.encoder import ENCODERS

    runs: dict[str, Callable[[], float]] = {}
    keys: list[tuple[str, str, int]] = []
    flops = {name: count_flops(name) for name in VITS}
    with working("compiling encoders"):
        for name in VITS:
            side = ENCODERS.get(name).tile_px
            tiles = np.random.default_rng(0).integers(0, 256, (NUM_TILES, side, side, 3), np.uint8)
            for way in WAYS:
                for num in threads:
                    encoder = load(name, way, num)
                    encoder.encode(tiles[:1])
                    work = functools.partial(encoder.encode, tiles)
                    keys.append((name, way, num))
                    runs[f"{name} {way} {num}"] = functools.partial(timed, work, num)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        for num in threads:
            runs[f"product {precision} {num}"] = functools.partial(timed, product(dtype), num)
    with working("encoding"):
        times = interleave(runs, repeats)
    rows: list[Encoding] = []
    for name, way, num in keys:
        taken = times[f"{name} {way} {num}"]
        peak = 2 * GEMM_SIDE**3 / min(times[f"product {way.rpartition('-')[2]} {num}"])
        speed = NUM_TILES / min(taken)
        rows.append(
            Encoding(
                name=VITS[name],
                way=way,
                num_threads=num,
                tiles_per_s=speed,
                median_tiles_per_s=NUM_TILES / median(taken),
                gflop_s=speed * flops[name] / 1e9,
                gemm_gflop_s=peak / 1e9,
                of_gemm=speed * flops[name] / peak,
            )
        )
    return rows


def timed(work: Callable[[], object], num_threads: int) -> float:
    """Seconds of some work; the threads are torch's, other runtimes have theirs by then."""
    import torch

    torch.set_num_threads(num_threads)
    return seconds(work)


def product(dtype: Any) -> Callable[[], object]:
    """One product of square matrices, the fastest work there is for a CPU."""
    import torch

    left, right = (torch.rand(GEMM_SIDE, GEMM_SIDE).to(dtype) for _ in range(2))
    out = torch.empty(GEMM_SIDE, GEMM_SIDE, dtype=dtype)
    return functools.partial(torch.mm, left, right, out=out)


def count_flops(name: str) -> int:
    """Floating-point operations of one tile: twice the multiplications of the network."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ruichat.features.encoder import ENCODERS

    side = ENCODERS.get(name).input_px
    module = random_module(name, "meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros((1, 3, side, side), device="meta"))
    return counter.get_total_flops()


def tabulate(report: Report) -> Any:
    """Extractions, then encoders beside the peak."""
    table = new_table(
        f"from slide to bag, and encoders on {NUM_TILES} tiles\n{report.machine.summary}",
        *("", "threads", "tiles/s", "median", "from memory", "of memory", "GFLOP/s", "of GEMM"),
    )
    for row in report.extractions:
        table.add_row(
            f"{row.name}, {row.way}, {row.num_tiles} tiles to a bag",
            "all",
            f"{row.tiles_per_s:.1f}",
            f"{row.median_tiles_per_s:.1f}",
            f"{row.from_memory:.1f}",
            f"{row.of_memory:.3f}",
        )
    for encoding in report.encodings:
        table.add_row(
            f"{encoding.name}, {encoding.way}",
            str(encoding.num_threads),
            f"{encoding.tiles_per_s:.1f}",
            f"{encoding.median_tiles_per_s:.1f}",
            "",
            "",
            f"{encoding.gflop_s:.0f}",
            f"{encoding.of_gemm:.2f}",
        )
    peaks = {(e.way.rpartition("-")[2], e.num_threads): e.gemm_gflop_s for e in report.encodings}
    for (precision, num), peak in sorted(peaks.items(), reverse=True):
        table.add_row(f"GEMM peak, {precision}", str(num), "", "", "", "", f"{peak:.0f}", "1.00")
    return table


if __name__ == "__main__":
    main()
