"""Peak memory of extraction from a thousand to a hundred thousand tiles.

Run: python benchmarks/extract_memory.py [--json] [--tiles 1000 10000 100000]

Each size is a slide of its own, a drawn one repeated, extracted to a file in a fresh process: by an
encoder that is one random projection, so that reading, shards and writing are what is measured.
Beside it stands what the bag would take if it were held in memory, and the rest of the machinery:
the child process that decodes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import Machine, machine, new_table, publish, working

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ruichat.slide.phantom import Phantom

TILE_PX = 32
"""Small tiles: a hundred thousand of them fit a slide that is quickly drawn."""
DIM = 768
MPP = 0.5
FILE_TILE_PX = 256
MOTIF_PX = 2048
MB = 1e6


@dataclass(frozen=True)
class Row:
    """One size of slide.

    Attributes:
        tiles: in the bag.
        peak_mb: largest resident memory of the extracting process.
        decoder_mb: of the child that decodes.
        bag_mb: of the file that was written.
        seconds: of the extraction.
    """

    tiles: int
    peak_mb: float
    decoder_mb: float
    bag_mb: float
    seconds: float


@dataclass(frozen=True)
class Report:
    """All sizes.

    Attributes:
        machine: where and when.
        rows: by size.
        growth_mb: peak of the largest size less that of the smallest.
    """

    machine: Machine
    rows: tuple[Row, ...]
    growth_mb: float


def main() -> None:
    """Measure every size in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tiles", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--draw", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--extract", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.draw:
        draw_slide(Path(options.draw[0]), int(options.draw[1]))
        return
    if options.extract:
        print(json.dumps(extract_one(Path(options.extract))))
        return
    here = machine()
    with working("extracting"):
        rows = tuple(measure(num) for num in options.tiles)
    report = Report(here, rows, rows[-1].peak_mb - rows[0].peak_mb)
    publish(report, tabulate(report), as_json=options.json)


def measure(num_tiles: int) -> Row:
    """Draw and extract in processes of their own: memory that one leaves behind isn't counted."""
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder) / "slide.tif"
        subprocess.run([sys.executable, __file__, "--draw", str(slide), str(num_tiles)], check=True)
        done = subprocess.run(
            [sys.executable, __file__, "--extract", str(slide)],
            check=True,
            stdout=subprocess.PIPE,
        )
    return Row(**json.loads(done.stdout))


def extract_one(path: Path) -> dict[str, Any]:
    """Extract a slide to a file beside it, watching this process and its child."""
    from ruichat.features.extract import ExtractConfig, extract_file
    from ruichat.slide.opening import open_slide

    encoder = ProjectionEncoder()
    out = path.with_name("bag.h5")
    with Watch() as watch, open_slide(path) as slide:
        started = time.perf_counter()
        facts = extract_file(slide, encoder, ExtractConfig.for_encoder(encoder.card), out)
        seconds = time.perf_counter() - started
    return {
        "tiles": facts.num_tiles,
        "peak_mb": watch.own_mb,
        "decoder_mb": watch.child_mb,
        "bag_mb": out.stat().st_size / MB,
        "seconds": seconds,
    }


class ProjectionEncoder:
    """A tile times a fixed random matrix."""

    def __init__(self) -> None:
        import numpy as np

        from ruichat.features.encoder import EncoderCard

        self.card = EncoderCard(
            name="projection",
            dim=DIM,
            tile_px=TILE_PX,
            tile_mpp=MPP,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            license="Apache-2.0",
            revision="1",
            loader="extract_memory:ProjectionEncoder",
        )
        self._matrix = np.random.default_rng(0).normal(size=(TILE_PX**2 * 3, DIM))
        self._matrix = self._matrix.astype(np.float32)
        self.digest = hashlib.sha256(self._matrix.tobytes()).hexdigest()

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One row per tile."""
        flat = tiles.reshape(len(tiles), -1).astype("float32") / 255
        return flat @ self._matrix


class Watch:
    """Peak resident memory of this process, and of its children while they live; Linux only."""

    def __init__(self) -> None:
        self.own_mb = self.child_mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.own_mb = _peak_mb("self")

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            for task in Path("/proc/self/task").iterdir():
                for child in (task / "children").read_text().split():
                    self.child_mb = max(self.child_mb, _peak_mb(child))


def _peak_mb(pid: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / MB for line in lines if line[:6] == "VmHWM:"), 0.0)


def draw_slide(path: Path, num_tiles: int) -> None:
    """A pyramid with about so many tiles: one drawn slide again and again, all of it tissue."""
    import numpy as np
    import tifffile

    from ruichat.slide.phantom import PhantomConfig, draw_phantom

    side = math.ceil(math.sqrt(num_tiles)) * TILE_PX
    mix = {"stroma": 1.0, "carcinoma_nests": 1.0}
    config = PhantomConfig(seed=0, width0=MOTIF_PX, height0=MOTIF_PX, mpp=MPP, mix=mix)
    motif = most_tissue(draw_phantom(config))
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level in range(4):
            small = np.ascontiguousarray(motif[:: 2**level, :: 2**level])
            size = -(-side // 2**level)
            tiff.write(
                _file_tiles(small, size),
                shape=(size, size, 3),
                dtype=np.uint8,
                tile=(FILE_TILE_PX, FILE_TILE_PX),
                photometric="rgb",
                compression="jpeg",
                subfiletype=int(level > 0),
                resolution=(1e4 / (MPP * 2**level),) * 2,
                resolutionunit=3,
            )


def most_tissue(drawn: Phantom) -> NDArray[np.uint8]:
    """The part of a drawn slide that has the most tissue."""
    from ruichat.slide.phantom import NO_TISSUE

    half, step = MOTIF_PX // 2, MOTIF_PX // 8
    corners = [(y, x) for y in range(0, half + 1, step) for x in range(0, half + 1, step)]

    def glass(corner: tuple[int, int]) -> int:
        y, x = corner
        return int((drawn.classes[y : y + half, x : x + half] == NO_TISSUE).sum())

    y, x = min(corners, key=glass)
    return drawn.rgb[y : y + half, x : x + half]


def _file_tiles(motif: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    import numpy as np

    steps = range(0, size, FILE_TILE_PX)
    for y in steps:
        rows = motif.take(range(y, y + FILE_TILE_PX), axis=0, mode="wrap")
        for x in steps:
            yield np.ascontiguousarray(rows.take(range(x, x + FILE_TILE_PX), axis=1, mode="wrap"))


def tabulate(report: Report) -> Any:
    """Sizes in rows."""
    table = new_table(
        f"Peak memory of extraction, grown by {report.growth_mb:.0f} MB from the smallest to the "
        f"largest\n{report.machine.summary}",
        *("tiles", "peak MB", "decoder MB", "bag MB", "tiles/s"),
    )
    for row in report.rows:
        table.add_row(
            f"{row.tiles:,}",
            f"{row.peak_mb:.0f}",
            f"{row.decoder_mb:.0f}",
            f"{row.bag_mb:.0f}",
            f"{row.tiles / row.seconds:.0f}",
        )
    return table


if __name__ == "__main__":
    main()
