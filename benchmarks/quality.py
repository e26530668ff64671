"""How well faults of a slide are found, beside plain thresholds, and what looking for them costs.

Run: python benchmarks/quality.py [--json] [--seeds 8] [--side 25600]

Drawn slides carry exact masks of their faults; on the development slides faults are laid over real
tissue by painters of this script that the detectors were not set on. The controls are a plain
threshold of darkness (for blur, of the Laplacian's variance), set on the clean drawn slides of the
same run so that it marks one in a hundred cells of them. Areas are mm2.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _common import Machine, machine, new_table, publish, seconds, shared_slide, working
from numpy.typing import NDArray
from scipy import ndimage
from tiles import write_pyramid

MPP = 1.0
"""Of all pictures here; what is measured finest, focus, is measured at 2 um/px."""
KINDS = ("blur", "pen", "fold", "bubble")
FIRST_SEED = 200
"""The limits were set on seeds below 24."""
WIDTH, HEIGHT = 1536, 1152
MOST_PX = 2048
"""Rows and columns of a slide over which faults are laid."""
NUM_TILES = 96
"""Of a set of tiles, looked at."""
CONTROL_SHARE = 0.01

REAL: dict[str, float | None] = {
    "CMU-1-Small-Region.svs": None,
    "derived_bcss_1008_breast.tif": None,
    "derived_bcss_1015_breast.tif": None,
    "tcga-cr-7395-01a-01-ts1.svs": 1.0,
}
"""Resolution where the file states none, by the size of its nuclei. The last slide has four folds
of its own, turned rims that make 1 % of its tissue."""
TILE_SETS: dict[str, float] = {
    "camelyon512": 0.5,
    "crc5_polito": 0.5,
    "ebhi_polyp": 0.25,
    "glas_mini": 0.62,
    "glioma": 0.25,
    "lc25000_lung": 0.7,
    "mopadi_examples": 0.5,
    "oscc": 0.5,
    "tnbc": 0.25,
}
"""Resolution in um/px; assumed for the sets that don't state it."""
OWN_LIGHT = ("ebhi_polyp", "oscc")
"""Sets of snapshots, each in its own light, which side by side are no slide: these are looked at
one by one, too."""
NUM_ALONE = 16
ALONE_PX = 900
"""Least side of a picture that is looked at alone; smaller ones are mirrored at their edges."""

INKS = {
    "blue": (1.15, 0.75, 0.18),
    "violet": (0.85, 1.05, 0.30),
    "turquoise": (1.10, 0.45, 0.30),
    "red": (0.15, 0.95, 0.70),
    "black": (1.20, 1.20, 1.20),
}

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Painter = Callable[[RGB, Any], tuple[RGB, Mask]]


@dataclass
class Areas:
    """Cells that were found, are true, and both, as area in mm2."""

    found: float = 0.0
    true: float = 0.0
    both: float = 0.0

    def add(self, found: Mask, true: Mask, cell_mm2: float) -> None:
        self.found += found.sum() * cell_mm2
        self.true += true.sum() * cell_mm2
        self.both += (found & true).sum() * cell_mm2


@dataclass(frozen=True)
class Score:
    """One fault on one kind of slide.

    Attributes:
        slides: what they are.
        fault: which.
        num_slides: how many.
        true_mm2: area that has the fault.
        precision: of what was found.
        recall: of what has the fault.
        control_precision: the same of the plain threshold.
        control_recall: the same of the plain threshold.
    """

    slides: str
    fault: str
    num_slides: int
    true_mm2: float
    precision: float
    recall: float
    control_precision: float
    control_recall: float


@dataclass(frozen=True)
class Alarm:
    """What is found where nothing is wrong.

    Attributes:
        where: which slides or tiles.
        num_tiles: tiles looked at.
        left_out: of these, mostly spoilt, by fault.
        shares: of the tissue, by fault.
        control: of the tissue, what the plain threshold of darkness marks.
    """

    where: str
    num_tiles: int
    left_out: dict[str, int]
    shares: dict[str, float]
    control: float


@dataclass(frozen=True)
class Cost:
    """Looking at one large pyramid in a fresh process.

    Attributes:
        side0: of the pyramid, pixels.
        tissue_mm2: of its tissue.
        tissue_s: finding the tissue.
        inspect_s: looking for faults.
        peak_mb: largest resident set of the process; the one that decodes comes on top.
    """

    side0: int
    tissue_mm2: float
    tissue_s: float
    inspect_s: float
    peak_mb: float


@dataclass(frozen=True)
class Report:
    """Everything measured in one run."""

    machine: Machine
    num_seeds: int
    scores: list[Score]
    alarms: list[Alarm]
    cost: Cost | None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=8, help="drawn slides of each kind")
    parser.add_argument("--side", type=int, default=25_600, help="of the pyramid; 0 for none")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cost-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cost_of:
        print(json.dumps(cost_here(options.cost_of)))
        return
    here = machine()
    with working("drawn slides"):
        limits, clean = clean_slides(options.seeds)
        scores = [score_drawn(kind, options.seeds, limits) for kind in KINDS]
    alarms = [clean]
    if shared_slide("CMU-1-Small-Region.svs").exists():
        with working("real slides"):
            scores += [score for kind in KINDS for score in score_real(kind, limits)]
            alarms += [alarm_on_slide(name, limits) for name in REAL]
            alarms += [alarm_on_tiles(name, limits) for name in TILE_SETS]
            alarms += [alarm_on_pictures(name, limits) for name in OWN_LIGHT]
    cost = None
    if options.side:
        with working("a large pyramid"):
            cost = cost_of(options.side)
    report = Report(here, options.seeds, scores, alarms, cost)
    publish(report, tabulate(report), as_json=options.json)


# --- looking -------------------------------------------------------------------------------------


def open_pixels(rgb: RGB) -> Any:
    """A slide in memory."""
    from ruichat.slide.mpp import MppChoice
    from ruichat.slide.plain_reader import PlainReader
    from ruichat.slide.slide import Slide

    reader = PlainReader(rgb, "png", (), None)
    return Slide(Path("drawn.png"), reader, MppChoice(MPP, "user", None, None))


def look(slide: Any) -> Any:
    """What is found on a slide."""
    from ruichat.slide.slide_quality import QualityConfig, inspect_slide
    from ruichat.slide.tissue import TissueConfig, find_tissue

    return inspect_slide(slide, find_tissue(slide, TissueConfig()), QualityConfig())


def choose(slide: Any, quality: Any) -> Any:
    """The tiles of a slide, as extraction chooses them."""
    from ruichat.slide.choice import ChoiceConfig, choose_tiles
    from ruichat.slide.grid import GridConfig, lay_grid
    from ruichat.slide.tissue import TissueConfig, find_tissue

    tissue = find_tissue(slide, TissueConfig())
    grid = lay_grid(slide, tissue, GridConfig(tile_px=round(112 / MPP), tile_mpp=MPP))
    return choose_tiles(grid, quality, ChoiceConfig())


def on_cells(mask: Mask, like: Mask) -> Mask:
    """A mask of pixels on the cells of another: True where most of a cell is."""
    from PIL import Image

    grey = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    return np.asarray(grey.resize(like.shape[::-1], Image.Resampling.BOX)) >= 128


def darkness(rgb: RGB, like: Mask) -> NDArray[np.float32]:
    """The control: mean grey level of a cell, darker is more."""
    from PIL import Image

    small = Image.fromarray(rgb).resize(like.shape[::-1], Image.Resampling.BOX)
    return 255 - np.asarray(small, np.float32).mean(axis=-1)


def dullness(rgb: RGB, like: Mask) -> NDArray[np.float32]:
    """The control for blur: variance of the Laplacian in 64 um around a cell, less is more."""
    laplacian = ndimage.laplace(rgb.mean(axis=-1, dtype=np.float32))
    from PIL import Image

    energy = Image.fromarray(laplacian**2).resize(like.shape[::-1], Image.Resampling.BOX)
    return -np.asarray(ndimage.uniform_filter(np.asarray(energy), 4), np.float32)


CONTROLS = {"blur": dullness, "pen": darkness, "fold": darkness, "bubble": darkness}


# --- drawn slides --------------------------------------------------------------------------------


def draw(seed: int, *artefacts: Any, finer: int = 1) -> tuple[RGB, NDArray[Any], Mask]:
    """Colours of one drawn slide, which artefacts lie where, and its tissue.

    Drawn optics blur by up to 1.1 px: where blur is judged, a slide is drawn finer and averaged.
    """
    from ruichat.slide.phantom import NO_TISSUE, PhantomConfig, draw_phantom

    width, height, mpp = WIDTH * finer, HEIGHT * finer, MPP / finer
    drawn = draw_phantom(
        PhantomConfig(seed=seed, width0=width, height0=height, mpp=mpp, artefacts=artefacts)
    )
    light = drawn.rgb.reshape(HEIGHT, finer, WIDTH, finer, 3).mean(axis=(1, 3))
    step = slice(finer // 2, None, finer)
    tissue = drawn.classes[step, step] != NO_TISSUE
    return np.rint(light).astype(np.uint8), drawn.artefacts[step, step], tissue


def seeds_of(num: int) -> range:
    return range(FIRST_SEED, FIRST_SEED + num)


def clean_slides(num: int) -> tuple[dict[str, float], Alarm]:
    """Limits of the controls, and false alarms."""
    values: dict[str, list[Any]] = {"blur": [], "pen": []}
    shares: dict[str, list[float]] = {kind: [] for kind in KINDS}
    left: dict[str, int] = {}
    num_tiles = 0
    for seed in seeds_of(num):
        rgb = draw(seed, finer=2)[0]
        slide = open_pixels(rgb)
        quality = look(slide)
        choice = choose(slide, quality)
        for kind in KINDS:
            shares[kind].append(quality.finding(kind).share)
        for kind, found in values.items():
            found.append(CONTROLS[kind](rgb, quality.tissue)[quality.tissue])
        num_tiles += len(choice.grid) + sum(choice.left_out.values())
        left = {k: left.get(k, 0) + choice.left_out.get(k, 0) for k in KINDS}
    cut = {k: float(np.quantile(np.concatenate(v), 1 - CONTROL_SHARE)) for k, v in values.items()}
    limits = cut | {"fold": cut["pen"], "bubble": cut["pen"]}
    mean = {kind: float(np.mean(found)) for kind, found in shares.items()}
    return limits, Alarm(
        f"{num} drawn slides", num_tiles, {k: v for k, v in left.items() if v}, mean, CONTROL_SHARE
    )


def score_drawn(kind: str, num: int, limits: dict[str, float]) -> Score:
    """One fault on drawn slides: pen and bubbles everywhere, others on tissue."""
    from ruichat.slide.phantom import ALL_ARTEFACTS

    def slides() -> Iterator[tuple[RGB, Mask]]:
        for seed in seeds_of(num):
            rgb, artefacts, tissue = draw(seed, kind, finer=2 if kind == "blur" else 1)
            truth = (artefacts >> ALL_ARTEFACTS.index(kind) & 1).astype(bool)
            if kind in ("blur", "fold"):
                truth &= tissue
            yield rgb, truth

    return score(f"{num} drawn", kind, slides(), limits)


def score(
    name: str, kind: str, slides: Iterator[tuple[RGB, Mask]], limits: dict[str, float]
) -> Score:
    """A detector and its control on slides with masks; the control sees tissue and fault only."""
    ours, control, num = Areas(), Areas(), 0
    for rgb, truth in slides:
        quality = look(open_pixels(rgb))
        finding = quality.finding(kind)
        cell_mm2 = (quality.downsample * MPP / 1000) ** 2
        true = on_cells(truth, finding.mask)
        ours.add(finding.mask, true, cell_mm2)
        plain = CONTROLS[kind](rgb, finding.mask) > limits[kind]
        control.add(plain & (quality.tissue | true), true, cell_mm2)
        num += 1
    return Score(
        slides=name,
        fault=kind,
        num_slides=num,
        true_mm2=ours.true,
        precision=ours.both / max(ours.found, 1e-9),
        recall=ours.both / max(ours.true, 1e-9),
        control_precision=control.both / max(control.found, 1e-9),
        control_recall=control.both / max(control.true, 1e-9),
    )


# --- faults laid over real tissue ----------------------------------------------------------------


def read_real(name: str) -> RGB:
    """A development slide at `MPP`."""
    from ruichat.slide.opening import open_slide

    with open_slide(shared_slide(name), mpp=REAL[name]) as slide:
        return slide.read(slide.bounds0, mpp=MPP)


def score_real(kind: str, limits: dict[str, float]) -> list[Score]:
    """One fault laid over the development slides, then coded as JPEG; pens by their ink."""
    if kind == "pen":
        return [
            score(f"real, {ink}", kind, painted([partial(lay_pen, ink=density)], i), limits)
            for i, (ink, density) in enumerate(INKS.items())
        ]
    painters: dict[str, list[Painter]] = {
        "blur": [partial(lay_blur, sigma_um=s) for s in (1.5, 2.0, 3.0, 5.0)],
        "fold": [partial(lay_fold, width_um=w) for w in (50, 80, 120)],
        "bubble": [partial(lay_bubble, wobble=w) for w in (0.0, 0.06, 0.15)],
    }
    return [score("real, laid over", kind, painted(painters[kind], 0), limits)]


def painted(painters: list[Painter], first: int) -> Iterator[tuple[RGB, Mask]]:
    """Each development slide with each fault on it; the truth keeps to tissue but for pens."""
    for number, name in enumerate(REAL):
        rgb = read_real(name)[:MOST_PX, :MOST_PX]
        for i, paint in enumerate(painters, first):
            made, truth = paint(rgb, np.random.default_rng([number, i]))
            yield as_jpeg(made), truth


def near_tissue(rgb: RGB) -> Mask:
    """Where a third of what lies within 8 um isn't white."""
    dark = (rgb.min(axis=-1) < 225).astype(np.float32)
    return ndimage.uniform_filter(dark, round(16 / MPP) + 1) > 0.3


def as_jpeg(rgb: RGB) -> RGB:
    """What a scanner's file gives back: quality 80, quartered colour."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=80, subsampling="4:2:0")
    return np.asarray(Image.open(buffer))


def lay_blur(rgb: RGB, rng: Any, *, sigma_um: float) -> tuple[RGB, Mask]:
    """A third of the view out of focus."""
    soft = np.stack([ndimage.gaussian_filter(rgb[..., c], sigma_um / MPP) for c in range(3)], -1)
    height, width = rgb.shape[:2]
    truth = np.zeros((height, width), bool)
    top, left = (int(n * rng.uniform(0, 0.4)) for n in (height, width))
    truth[top : top + int(height * 0.6), left : left + int(width * 0.6)] = True
    return np.where(truth[..., None], soft, rgb), truth & near_tissue(rgb)


def lay_pen(rgb: RGB, rng: Any, *, ink: tuple[float, float, float]) -> tuple[RGB, Mask]:
    """A stroke of 300 um across the view."""
    away = distance_to_line(rgb.shape, rng, wave_um=40)
    cover = np.clip((150 - np.abs(away)) / 15, 0, 1)
    density = (cover * rng.uniform(0.4, 0.8))[..., None] * np.array(ink, np.float32)
    return (rgb * 10**-density).astype(np.uint8), cover > 0.1


def lay_fold(rgb: RGB, rng: Any, *, width_um: float) -> tuple[RGB, Mask]:
    """A band in which tissue from beside it lies on top."""
    away = distance_to_line(rgb.shape, rng, wave_um=40)
    over = (np.abs(away) < width_um / 2) & near_tissue(rgb)
    shift = rng.integers(75, 200, 2)
    glass = np.percentile(rgb, 99, axis=(0, 1))
    beside = np.roll(rgb, shift, axis=(0, 1))
    truth = over & near_tissue(beside)
    return np.where(over[..., None], np.minimum(rgb * (beside / glass), 255), rgb).astype(
        np.uint8
    ), truth


def lay_bubble(rgb: RGB, rng: Any, *, wobble: float) -> tuple[RGB, Mask]:
    """A ring of uneven shape: refracting rim, washed out within."""
    height, width = rgb.shape[:2]
    radius = rng.uniform(100, 250) / MPP
    cx, cy = width * rng.uniform(0.3, 0.7), height * rng.uniform(0.3, 0.7)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = np.arctan2(y - cy, x - cx)
    waves = sum(np.sin(k * angle + rng.uniform(0, 6.3)) / k for k in (2, 3, 5))
    away = np.hypot(x - cx, y - cy) / (radius * (1 + wobble * waves))
    rim = np.exp(-(((away - 1) / 0.04) ** 2))
    inner = np.clip((1 - away) / 0.05, 0, 1)[..., None] * 0.3
    light = rgb + inner * (rgb.mean(axis=(0, 1)) * 1.05 - rgb)
    return np.clip(light * (1 - 0.6 * rim[..., None]), 0, 255).astype(np.uint8), away < 1.1


def distance_to_line(shape: tuple[int, ...], rng: Any, *, wave_um: float) -> NDArray[np.float32]:
    """Signed distance in um to a wavy line through the middle of the view."""
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) * MPP
    x, y = x - x.mean(), y - y.mean()
    along, away = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return away + wave_um * np.sin(along / 130)


# --- false alarms --------------------------------------------------------------------------------


def alarm_on_slide(name: str, limits: dict[str, float]) -> Alarm:
    """A development slide as it is."""
    return alarm(name, [read_real(name)], limits)


def alarm_on_tiles(name: str, limits: dict[str, float]) -> Alarm:
    """Some tiles of a set side by side, 64 at a time: one alone is too small for a fault."""
    return alarm(name, mosaics(some_paths(name, NUM_TILES), TILE_SETS[name]), limits)


def alarm_on_pictures(name: str, limits: dict[str, float]) -> Alarm:
    """Some tiles of a set, each as a view of its own."""
    paths = some_paths(name, NUM_ALONE)
    views = (mirrored(view) for path in paths for view in mosaics([path], TILE_SETS[name]))
    return alarm(f"{name}, one by one", views, limits)


def mirrored(rgb: RGB) -> RGB:
    """A picture that is at least `ALONE_PX` a side."""
    height, width = (max(0, ALONE_PX - side) for side in rgb.shape[:2])
    return np.pad(rgb, ((0, height), (0, width), (0, 0)), "symmetric")


def some_paths(name: str, most: int) -> list[Path]:
    """Tiles of a set, evenly chosen."""
    folder = shared_slide("").parent / "tiles" / name
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif") and "mask" not in str(path)
    )
    return paths[:: max(1, len(paths) // most)][:most]


def mosaics(paths: list[Path], mpp: float) -> Iterator[RGB]:
    """Squares of tiles, those of one picture at `MPP`."""
    from PIL import Image

    for first in range(0, len(paths), 64):
        some = paths[first : first + 64]
        side = max(1, int(len(some) ** 0.5))
        tiles: list[RGB] = []
        for path in some[: side * side]:
            with Image.open(path) as image:
                size = [round(n * mpp / MPP) for n in image.size]
                kind = Image.Resampling.BOX if mpp < MPP else Image.Resampling.BICUBIC
                tiles.append(np.asarray(image.convert("RGB").resize((size[0], size[1]), kind)))
        height, width = (min(tile.shape[i] for tile in tiles) for i in (0, 1))
        rows = [
            np.concatenate([tile[:height, :width] for tile in tiles[i : i + side]], axis=1)
            for i in range(0, side * side, side)
        ]
        yield np.concatenate(rows)


def alarm(name: str, pictures: Any, limits: dict[str, float]) -> Alarm:
    """What is found on pictures that have no fault."""
    shares: dict[str, list[float]] = {kind: [] for kind in KINDS}
    control: list[float] = []
    left: dict[str, int] = {}
    num_tiles = 0
    for rgb in pictures:
        slide = open_pixels(rgb)
        quality = look(slide)
        choice = choose(slide, quality)
        num_tiles += len(choice.grid) + sum(choice.left_out.values())
        left = {k: left.get(k, 0) + choice.left_out.get(k, 0) for k in KINDS}
        for kind in KINDS:
            shares[kind].append(quality.finding(kind).share)
        dark = darkness(rgb, quality.tissue) > limits["pen"]
        control.append(float(dark[quality.tissue].mean()))
    mean = {kind: float(np.nanmean(found)) for kind, found in shares.items()}
    return Alarm(
        name, num_tiles, {k: v for k, v in left.items() if v}, mean, float(np.mean(control))
    )


# --- cost ----------------------------------------------------------------------------------------


def cost_of(side0: int) -> Cost:
    """Write a pyramid and look at it in a fresh process."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "pyramid.tif"
        write_pyramid(path, side0)
        command = [sys.executable, __file__, "--cost-of", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    found = json.loads(done.stdout)
    return Cost(side0=side0, **found)


def cost_here(path: Path) -> dict[str, Any]:
    """Seconds and peak memory of looking at one slide, in this process."""
    from ruichat.slide.opening import open_slide
    from ruichat.slide.slide_quality import QualityConfig, inspect_slide
    from ruichat.slide.tissue import TissueConfig, TissueMask, find_tissue

    with open_slide(path) as slide:
        slide.read_tile(0, 0, span0=64, tile_px=64)  # the level proves itself
        found: list[TissueMask] = []
        tissue_s = seconds(lambda: found.append(find_tissue(slide, TissueConfig())))
        inspect_s = seconds(lambda: inspect_slide(slide, found[0], QualityConfig()))
    return {
        "tissue_mm2": found[0].area_mm2,
        "tissue_s": tissue_s,
        "inspect_s": inspect_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


def tabulate(report: Report) -> Any:
    """Scores, false alarms and cost under each other."""
    from rich.console import Group

    scores = new_table(
        f"Precision and recall by area\n{report.machine.summary}",
        *("", "fault", "slides", "mm2", "precision", "recall", "control p", "control r"),
    )
    for one in report.scores:
        figures = (one.precision, one.recall, one.control_precision, one.control_recall)
        scores.add_row(
            one.slides,
            one.fault,
            str(one.num_slides),
            f"{one.true_mm2:.2f}",
            *(f"{value:.2f}" for value in figures),
        )
    alarms = new_table("Found where nothing is wrong, share of the tissue", "", "tiles", "left out",
                       *KINDS, "control dark")  # fmt: skip
    for one in report.alarms:
        left = ", ".join(f"{fault} {num}" for fault, num in one.left_out.items())
        figures = (*(one.shares[kind] for kind in KINDS), one.control)
        alarms.add_row(one.where, str(one.num_tiles), left or "0", *(f"{v:.2%}" for v in figures))
    if report.cost is None:
        return Group(scores, alarms)
    cost = new_table("One large pyramid", "side", "mm2", "tissue s", "faults s", "peak MB")
    found = report.cost
    cost.add_row(
        str(found.side0),
        f"{found.tissue_mm2:.0f}",
        f"{found.tissue_s:.1f}",
        f"{found.inspect_s:.1f}",
        f"{found.peak_mb:.0f}",
    )
    return Group(scores, alarms, cost)


if __name__ == "__main__":
    main()
