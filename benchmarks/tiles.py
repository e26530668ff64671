"""Speed of reading tiles from a large JPEG pyramid, beside OpenSlide and bare decoding.

Run: python benchmarks/tiles.py [--json] [--threads 1 2] [--side 20480]

The pyramid repeats a drawn slide, mirrored so that no seam shows, as 256-px JPEG tiles of quality
80 with quartered colour. "Aligned" tiles are the file's own; "straddling" ones lie on four of
them. Bare decoding is libjpeg-turbo on the same bytes, already in memory: the ceiling.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
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
from PIL import Image

TILE_PX = 256
BLOCK = 32
"""Tiles a side of the block that is read: more than any cache here holds."""
BATCH = 64
"""Tiles asked for in one call."""
MOTIF_PX = 4096
MPP = 0.5

Corners = NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One way of reading.

    Attributes:
        name: what reads.
        num_threads: that share the tiles.
        tiles_per_s: best of several repeats.
        median_tiles_per_s: of the same.
        of_bare: share of bare decoding with as many threads.
        of_openslide: ratio to OpenSlide on the same tiles with as many threads.
    """

    name: str
    num_threads: int
    tiles_per_s: float
    median_tiles_per_s: float
    of_bare: float
    of_openslide: float


@dataclass(frozen=True)
class Report:
    """Everything measured in one run."""

    machine: Machine
    side0: int
    num_tiles: int
    kb_per_tile: float
    repeats: int
    rows: list[Row]


def main() -> None:
    parser = new_parser(__doc__, threads=one_and_two(), repeats=5)
    parser.add_argument("--side", type=int, default=20_480, help="of the pyramid, pixels")
    options = parser.parse_args()
    here = machine()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "pyramid.tif"
        with working("writing the pyramid"):
            write_pyramid(path, options.side)
        with working("reading tiles"):
            report = measure(here, path, options.threads, options.repeats)
    publish(report, tabulate(report), as_json=options.json)


def write_pyramid(path: Path, side0: int) -> None:
    """A tiled JPEG pyramid of two levels."""
    import tifffile

    from ruichat.slide.phantom import PhantomConfig, draw_phantom

    side = min(MOTIF_PX, side0)
    rgb = draw_phantom(PhantomConfig(seed=0, width0=side, height0=side, mpp=MPP, fill=True)).rgb
    motif = np.asarray(Image.fromarray(rgb).convert("YCbCr"))  # tifffile stores what it is given
    motif = np.concatenate([motif, motif[:, ::-1]], axis=1)
    motif = np.concatenate([motif, motif[::-1]], axis=0)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for step in (1, 4):
            tiff.write(
                tiles_of(motif[::step, ::step], side0 // step),
                shape=(side0 // step, side0 // step, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                compression="jpeg",
                compressionargs={"level": 80},
                subsampling=(2, 2),
                resolution=(1e4 / MPP, 1e4 / MPP),
                resolutionunit="CENTIMETER",
                subfiletype=int(step > 1),
                metadata=None,
            )


def tiles_of(motif: NDArray[np.uint8], side: int) -> Iterator[NDArray[np.uint8]]:
    """Tiles of a picture that repeats a motif, row by row."""
    width = motif.shape[1]
    for y in range(0, side, TILE_PX):
        rows = motif.take(range(y, y + TILE_PX), axis=0, mode="wrap")
        for x in range(0, side, TILE_PX):
            yield rows.take(range(x % width, x % width + TILE_PX), axis=1, mode="wrap")


def measure(here: Machine, path: Path, threads: list[int], repeats: int) -> Report:
    """Read the same block in every way."""
    steps = TILE_PX * np.arange(BLOCK, dtype=np.int64)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    aligned = np.stack([x.ravel(), y.ravel()], axis=1)
    straddling = aligned + TILE_PX // 2
    data = tile_bytes(path, aligned)
    runs: dict[str, Callable[[], float]] = {}
    names: dict[str, tuple[str, str, int]] = {}
    for num in threads:
        for place, xy0 in (("aligned", aligned), ("straddling", straddling)):
            ways: dict[str, Callable[[], float]] = {
                "RuiChat": lambda xy0=xy0, num=num: read_ours(path, xy0, num),
                "OpenSlide": lambda xy0=xy0, num=num: read_openslide(path, xy0, num),
            }
            if has_tiffslide():
                ways["tiffslide"] = lambda xy0=xy0, num=num: read_tiffslide(path, xy0, num)
            if place == "aligned":
                ways["libjpeg-turbo, bare"] = lambda num=num: decode_bare(data, num)
            for name, way in ways.items():
                key = f"{name} {place} {num}"
                runs[key], names[key] = way, (name, place, num)
    times = interleave(runs, repeats)
    speed = {key: len(aligned) / min(taken) for key, taken in times.items()}
    rows = [
        Row(
            name=name if name.endswith("bare") else f"{name}, {place}",
            num_threads=num,
            tiles_per_s=speed[key],
            median_tiles_per_s=len(aligned) / median(times[key]),
            of_bare=speed[key] / speed[f"libjpeg-turbo, bare aligned {num}"],
            of_openslide=speed[key] / speed[f"OpenSlide {place} {num}"],
        )
        for key, (name, place, num) in names.items()
    ]
    return Report(
        machine=here,
        side0=side_of(path),
        num_tiles=len(aligned),
        kb_per_tile=sum(map(len, data)) / len(data) / 1000,
        repeats=repeats,
        rows=rows,
    )


def side_of(path: Path) -> int:
    """Width of the pyramid."""
    from ruichat.slide.opening import open_slide

    with open_slide(path) as slide:
        return slide.width0


def shared_out(xy0: Corners, num_threads: int, read: Callable[[Corners], object]) -> float:
    """Seconds until that many threads have read a stretch of the tiles each."""
    cuts = np.linspace(0, len(xy0), num_threads + 1).astype(int)
    parts = [xy0[a:b] for a, b in pairwise(cuts)]
    with ThreadPoolExecutor(num_threads) as pool:
        return seconds(lambda: list(pool.map(read, parts)))


def read_ours(path: Path, xy0: Corners, num_threads: int) -> float:
    """Through `Slide`, whose child process decodes in threads."""
    from ruichat.slide.opening import open_slide

    with open_slide(path) as slide:
        slide.read_tiles(xy0[:1], span0=TILE_PX, tile_px=TILE_PX)  # the level proves itself

        def read() -> None:
            for batch in np.array_split(xy0, len(xy0) // BATCH):
                slide.read_tiles(batch, span0=TILE_PX, tile_px=TILE_PX, num_threads=num_threads)

        return seconds(read)


def read_openslide(path: Path, xy0: Corners, num_threads: int) -> float:
    """A loop of `read_region`, to RGB."""
    import openslide

    with openslide.OpenSlide(path) as slide:

        def read(part: Corners) -> None:
            for x, y in part.tolist():
                np.asarray(slide.read_region((x, y), 0, (TILE_PX, TILE_PX)).convert("RGB"))

        return shared_out(xy0, num_threads, read)


def has_tiffslide() -> bool:
    """Whether that peer is installed."""
    from importlib.util import find_spec

    return find_spec("tiffslide") is not None


def read_tiffslide(path: Path, xy0: Corners, num_threads: int) -> float:
    """A loop of `read_region` of tiffslide."""
    import tiffslide  # pyright: ignore[reportMissingImports]

    with tiffslide.TiffSlide(path) as slide:

        def read(part: Corners) -> None:
            for x, y in part.tolist():
                slide.read_region((x, y), 0, (TILE_PX, TILE_PX), as_array=True)

        return shared_out(xy0, num_threads, read)


def tile_bytes(path: Path, xy0: Corners) -> list[bytes]:
    """The file's own tiles at those corners, as whole JPEG files."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        tables = page.jpegtables or b""
        columns = -(-page.imagewidth // TILE_PX)
        found: list[bytes] = []
        for x, y in (xy0 // TILE_PX).tolist():
            index = y * columns + x
            tiff.filehandle.seek(page.dataoffsets[index])
            data = tiff.filehandle.read(page.databytecounts[index])
            # JPEG in TIFF says outside of the data that it is YCbCr; here it must say so itself.
            adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
            found.append(data[:2] + adobe + tables[2:-2] + data[2:])
    return found


def fast_array() -> NDArray[np.uint8]:
    """A tile where libjpeg-turbo writes fastest: rows that don't begin on 32 bytes."""
    size = TILE_PX * TILE_PX * 3
    memory = np.empty(size + 64, np.uint8)
    start = -memory.__array_interface__["data"][0] % 32 + 16
    return memory[start : start + size].reshape(TILE_PX, TILE_PX, 3)


def decode_bare(data: list[bytes], num_threads: int) -> float:
    """Nothing but decoding."""
    import simplejpeg

    cuts = np.linspace(0, len(data), num_threads + 1).astype(int)

    def decode(part: tuple[int, int]) -> None:
        out = fast_array()
        for one in data[part[0] : part[1]]:
            simplejpeg.decode_jpeg(one, buffer=out)

    with ThreadPoolExecutor(num_threads) as pool:
        return seconds(lambda: list(pool.map(decode, pairwise(cuts.tolist()))))


def tabulate(report: Report) -> Any:
    """Ways in rows, one and more threads."""
    table = new_table(
        f"{report.num_tiles} tiles of {TILE_PX} px ({report.kb_per_tile:.0f} kB) from a pyramid of "
        f"{report.side0} x {report.side0} px\n{report.machine.summary}",
        *("", "threads", "tiles/s", "median", "of bare", "of OpenSlide"),
    )
    for row in report.rows:
        table.add_row(
            row.name,
            str(row.num_threads),
            f"{row.tiles_per_s:.0f}",
            f"{row.median_tiles_per_s:.0f}",
            f"{row.of_bare:.2f}",
            f"{row.of_openslide:.1f}",
        )
    return table


if __name__ == "__main__":
    main()
