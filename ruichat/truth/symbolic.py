"""Slides as the language model sees them before any pixel: regions, what they hold, where they lie.

A symbolic slide is a set of regions with the fraction of each tissue class in them. It is drawn at
random for pre-training, or read off a bag whose tiles are known; dialogues are written from either.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy import ndarray
from pydantic import Field

from ruichat.config import Config
from ruichat.errors import InputError
from ruichat.histology import CLASSES, KEYS, MALIGNANT
from ruichat.model.regions import GEOMETRY_DIM, Regions, split_regions

NUM_CLASSES = len(CLASSES)
INDEX: dict[str, int] = {key: i for i, key in enumerate(KEYS)}


@dataclass(frozen=True)
class SymbolicSlide:
    """What each region of a slide holds, and where it lies.

    Attributes:
        fractions: share of each class of `histology.CLASSES` in each region; rows sum to 1.
        geometry: see `ruichat.model.regions.geometry_features`.
        num_tiles: tiles in each region.
        tile_mm2: area of one tile, mm².
    """

    fractions: Float32[ndarray, "k c"]
    geometry: Float32[ndarray, "k g"]
    num_tiles: Int64[ndarray, " k"]
    tile_mm2: float

    def __post_init__(self) -> None:
        k = len(self.fractions)
        if k == 0:
            raise InputError("a slide has no regions")
        if self.fractions.shape != (k, NUM_CLASSES):
            raise InputError(
                f"fractions have shape {self.fractions.shape}, expected ({k}, {NUM_CLASSES})"
            )
        if self.geometry.shape != (k, GEOMETRY_DIM) or self.num_tiles.shape != (k,):
            raise InputError(f"geometry or tile counts do not match {k} regions")
        if not np.allclose(self.fractions.sum(axis=1), 1.0, atol=1e-4):
            raise InputError("the class fractions of a region do not sum to 1")

    @property
    def num_regions(self) -> int:
        """Number of regions k."""
        return len(self.fractions)

    @property
    def centre_xy(self) -> Float32[ndarray, "k 2"]:
        """Centre of each region in the tissue's box, x and y in -1..1, y downwards."""
        return self.geometry[:, :2]

    @property
    def mm2(self) -> Float[ndarray, " k"]:
        """Tissue area of each region, mm²."""
        return self.num_tiles * self.tile_mm2

    @cached_property
    def composition(self) -> Float[ndarray, " c"]:
        """Share of each class in the whole slide; sums to 1."""
        weight = self.num_tiles / self.num_tiles.sum()
        return weight @ self.fractions

    @classmethod
    def from_truth(
        cls,
        tile_class: Int64[ndarray, " n"],
        regions: Regions,
        *,
        tile_mm2: float = 0.112**2,
    ) -> SymbolicSlide:
        """Read a slide's regions off tiles of known class.

        Args:
            tile_class: index into `histology.CLASSES` of every tile.
            regions: which tile belongs to which region, and where the regions lie.
            tile_mm2: area of one tile; the default is 224 px at 0.5 µm per pixel.

        Raises:
            InputError: a tile has no known class, or the arrays differ in length.
        """
        assignment = np.asarray(regions.assignment)
        if len(tile_class) != len(assignment):
            raise InputError(f"{len(tile_class)} tile classes for {len(assignment)} tiles")
        if np.any((tile_class < 0) | (tile_class >= NUM_CLASSES)):
            raise InputError(
                "a tile has no known class", hint="Leave such tiles out before regions are split"
            )
        geometry = np.asarray(regions.geometry, dtype=np.float32)
        counts = count_classes(np.asarray(tile_class), assignment, len(geometry))
        totals = counts.sum(axis=1)
        return cls(
            fractions=(counts / totals[:, None]).astype(np.float32),
            geometry=geometry,
            num_tiles=totals.astype(np.int64),
            tile_mm2=tile_mm2,
        )


def count_classes(
    tile_class: Int64[ndarray, " n"], assignment: Int64[ndarray, " n"], k: int
) -> Float[ndarray, "k c"]:
    """Number of tiles of each class in each region."""
    flat = np.bincount(assignment * NUM_CLASSES + tile_class, minlength=k * NUM_CLASSES)
    return flat.reshape(k, NUM_CLASSES).astype(np.float64)


class SymbolicConfig(Config):
    """How symbolic slides are drawn."""

    max_regions: int = Field(default=32, ge=1, le=64)
    """Regions a slide is split into at most."""
    full_share: float = Field(default=0.7, ge=0, le=1)
    """Share of slides split into exactly `max_regions`; the others into fewer."""
    min_side: int = Field(default=4, ge=1)
    """Smallest side of the tile grid, tiles."""
    max_side: int = Field(default=22, ge=1)
    """Largest side of the tile grid, tiles."""
    max_patches: int = Field(default=14, ge=1)
    """Most patches of one class each that a slide is made of."""
    noise_share: float = Field(default=0.5, ge=0, le=1)
    """Share of slides in which single tiles show another class of the slide."""
    max_noise: float = Field(default=0.15, ge=0, lt=1)
    """Highest share of such tiles."""
    tile_mm: float = Field(default=0.112, gt=0)
    """Side of a tile, mm: 224 px at 0.5 µm per pixel."""


ORGAN_SETS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("lung_adenocarcinoma", "lung_squamous_carcinoma"),
        ("normal_lung", "stroma", "lymphoid_tissue", "necrosis", "mucus"),
    ),
    (
        ("oral_squamous_carcinoma",),
        ("normal_oral_mucosa", "stroma", "lymphoid_tissue", "fat", "necrosis"),
    ),
    (("colorectal_polyp",), ("normal_glands", "stroma", "mucus", "fat", "lymphoid_tissue")),
    (("breast_carcinoma",), ("fat", "stroma", "normal_glands", "necrosis", "lymphoid_tissue")),
    (("nodal_metastasis",), ("lymphoid_tissue", "fat", "stroma", "necrosis")),
    (
        ("carcinoma_nests", "carcinoma_glands"),
        ("stroma", "fat", "necrosis", "mucus", "lymphoid_tissue", "normal_glands"),
    ),
)
"""Lesions with the tissues that occur beside them, by organ; the last is that of the phantoms."""

_TUMOURS = tuple(key for key in KEYS if key in MALIGNANT)
_OTHERS = tuple(key for key in KEYS if key not in MALIGNANT)
_SCENARIOS = ("normal", "tumour", "organ", "mixture", "free")
_SCENARIO_WEIGHTS = (0.28, 0.30, 0.12, 0.12, 0.18)


def _some(rng: np.random.Generator, keys: tuple[str, ...], low: int, high: int) -> list[str]:
    """Between `low` and `high` distinct keys."""
    high = min(high, len(keys))
    count = int(rng.integers(min(low, high), high + 1))
    return [keys[i] for i in rng.permutation(len(keys))[:count]]


def draw_classes(rng: np.random.Generator, allowed: tuple[str, ...] = KEYS) -> list[str]:
    """The classes one slide shows: of one organ, or mixed freely so that none implies another.

    Args:
        rng: all choices come from it.
        allowed: classes that may be drawn; the scenario is drawn again where none of its are.
    """
    while True:
        drawn = [key for key in _draw_scenario(rng) if key in allowed]
        if drawn:
            return drawn


def _draw_scenario(rng: np.random.Generator) -> list[str]:
    scenario = _SCENARIOS[int(np.searchsorted(np.cumsum(_SCENARIO_WEIGHTS), rng.random()))]
    if scenario == "normal":
        if rng.random() < 0.5:
            _, around = ORGAN_SETS[int(rng.integers(len(ORGAN_SETS)))]
            return _some(rng, around, 1, 3)
        return _some(rng, _OTHERS, 1, 4)
    if scenario == "tumour":
        tumour = _TUMOURS[int(rng.integers(len(_TUMOURS)))]
        around = next(near for lesions, near in ORGAN_SETS if tumour in lesions)
        return [tumour, *_some(rng, around, 0, 3)]
    if scenario == "organ":
        lesions, around = ORGAN_SETS[int(rng.integers(len(ORGAN_SETS)))]
        return _some(rng, lesions, 1, 2) + _some(rng, around, 2, 5)
    if scenario == "mixture":
        return _some(rng, _TUMOURS, 2, 3) + _some(rng, _OTHERS, 0, 3)
    return _some(rng, KEYS, 1, 6)


@dataclass(frozen=True)
class Layout:
    """A drawn slide tile by tile.

    Attributes:
        xy0: top left corners of the tiles, level-0 pixels of one micrometre.
        span0: side of a tile, level-0 pixels of one micrometre.
        tile_class: index into `histology.CLASSES` of every tile.
        regions: which tile lies in which region, and where the regions lie.
        slide: what the regions hold.
    """

    xy0: Int64[ndarray, "n 2"]
    span0: int
    tile_class: Int64[ndarray, " n"]
    regions: Regions
    slide: SymbolicSlide


def draw_symbolic_slide(
    rng: np.random.Generator, config: SymbolicConfig | None = None
) -> SymbolicSlide:
    """Draw a slide: tissue of a few patches on a tile grid, split into regions.

    Deterministic for the state of `rng`.
    """
    return draw_layout(rng, config or SymbolicConfig()).slide


def draw_layout(
    rng: np.random.Generator, config: SymbolicConfig, *, allowed: tuple[str, ...] = KEYS
) -> Layout:
    """Draw a slide with its tiles, showing `allowed` classes only."""
    xy = _draw_tissue(rng, config)
    tile_class = _draw_patches(rng, config, xy, allowed)
    k = config.max_regions
    if rng.random() >= config.full_share:
        k = int(rng.integers(1, config.max_regions + 1))
    span0 = round(config.tile_mm * 1000)
    size0 = (int(xy[:, 0].max() + 1) * span0, int(xy[:, 1].max() + 1) * span0)
    # One level-0 pixel stands for a micrometre: geometry is in mm, so any resolution would do.
    regions = split_regions(xy * span0, span0, 1.0, size0, max_regions=k)
    slide = SymbolicSlide.from_truth(tile_class, regions, tile_mm2=config.tile_mm**2)
    return Layout(xy * span0, span0, tile_class, regions, slide)


def _draw_tissue(rng: np.random.Generator, config: SymbolicConfig) -> Int64[ndarray, "n 2"]:
    """Tile positions of one to three overlapping ellipses, or of a whole rectangle."""
    width, height = (int(v) for v in rng.integers(config.min_side, config.max_side + 1, size=2))
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
    if rng.random() < 0.35:
        return grid
    unit = (grid + 0.5) / (width, height) * 2 - 1
    inside = np.zeros(len(grid), dtype=bool)
    for _ in range(int(rng.integers(1, 4))):
        centre = rng.uniform(-0.5, 0.5, size=2)
        radius = rng.uniform(0.35, 1.1, size=2)
        inside |= (((unit - centre) / radius) ** 2).sum(axis=1) < 1
    return grid[inside] if inside.sum() >= 4 else grid


def _draw_patches(
    rng: np.random.Generator,
    config: SymbolicConfig,
    xy: Int64[ndarray, "n 2"],
    allowed: tuple[str, ...],
) -> Int64[ndarray, " n"]:
    """Class of each tile: that of the nearest patch centre, with some stray tiles."""
    classes = np.array([INDEX[key] for key in draw_classes(rng, allowed)], dtype=np.int64)
    num_patches = max(len(classes), int(rng.integers(1, config.max_patches + 1)))
    weight = rng.dirichlet(np.full(len(classes), 0.8))
    more = rng.choice(len(classes), size=num_patches - len(classes), p=weight)
    patch_class = classes[np.concatenate([np.arange(len(classes)), more])]
    centre = xy[rng.integers(len(xy), size=num_patches)] + rng.uniform(-0.5, 0.5, (num_patches, 2))
    stretch = np.exp(rng.uniform(-0.5, 0.5))
    delta = (xy[:, None, :] - centre[None]) * (stretch, 1.0)
    tile_class = patch_class[(delta**2).sum(axis=-1).argmin(axis=1)]
    if rng.random() < config.noise_share:
        stray = rng.random(len(xy)) < rng.uniform(0, config.max_noise)
        tile_class[stray] = classes[rng.integers(len(classes), size=int(stray.sum()))]
    return tile_class
