"""Several crops of each tile, as bytes, with all that is to be done to their colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from ruichat.align.pretraining.colours import ColourConfig, Colours, draw_colours
from ruichat.align.pretraining.masks import MaskConfig, draw_masks
from ruichat.config import Config

Tile = NDArray[np.uint8]
"""Bytes [h,w,3]; tiles of one batch may differ in size."""

NUM_GLOBAL = 2
"""Global crops of a tile, as in DINO: each is the other's target."""

_ASPECTS = (3 / 4, 4 / 3)
"""Width to height of what is cut. Source: Inception, as in torchvision's RandomResizedCrop."""

_BLUR = {
    name: ColourConfig.model_validate({"blur": share})
    for name, share in (("first", 1.0), ("second", 0.1), ("local", 0.5))
}
"""Strengths of DINO, without solarising."""


class CropConfig(Config):
    """The crops of a tile."""

    global_px: int = Field(224, gt=0)
    global_share: tuple[float, float] = (0.32, 1.0)
    """Least and largest share of the tile's area."""
    local_px: int = Field(96, gt=0)
    local_share: tuple[float, float] = (0.05, 0.32)
    num_local: int = Field(8, ge=0)
    clean_px: int = Field(0, ge=0)
    """Side of the global crops that frozen encoders see, undistorted; 0 makes none."""
    turns: bool = True
    """Turn crops by quarters: a slide has no upright. Mirroring is always done."""
    first: ColourConfig = _BLUR["first"]
    """Of the first global crop."""
    second: ColourConfig = _BLUR["second"]
    local: ColourConfig = _BLUR["local"]

    @model_validator(mode="after")
    def _ordered(self) -> CropConfig:
        for name in ("global_share", "local_share"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} must rise within 0 to 1, found {low} to {high}")
        return self


@dataclass(frozen=True)
class Crops:
    """Crops of b tiles; rows go crop by crop: all tiles' first crop, then their second.

    Attributes:
        wide: global crops.
        narrow: local crops.
        clean: what the global crops show, perhaps larger; no rows where none are wanted.
        wide_colours: for the global crops, the same for teacher and student.
        narrow_colours: for the local ones.
        stain: factors of hematoxylin and eosin in the second global crop, for the student alone.
        masked: patches of the global crops that are hidden from the student.
    """

    wide: UInt8[Tensor, "cb g g 3"]
    narrow: UInt8[Tensor, "lb l l 3"]
    clean: UInt8[Tensor, "eb q q 3"]
    wide_colours: Colours
    narrow_colours: Colours
    stain: Float[Tensor, "b 2"]
    masked: Bool[Tensor, "cb p"]


def cut_crops(
    tiles: Sequence[Tile],
    config: CropConfig,
    masks: MaskConfig,
    *,
    patch_px: int,
    student_stain: Tensor,
    rng: np.random.Generator,
) -> Crops:
    """Crops of a micro-batch; all that is random comes from `rng`.

    Args:
        tiles: of any sizes.
        config: which crops.
        masks: which patches are hidden.
        patch_px: side of a patch, pixels.
        student_stain: for the second global crop of every tile, [b,2].
        rng: for geometry, colours and masks.
    """
    wide: list[Tile] = []
    clean: list[Tile] = []
    narrow: list[Tile] = []
    for _ in range(NUM_GLOBAL):
        for tile in tiles:
            view = _View.draw(tile, config.global_share, config.turns, rng)
            wide.append(view.cut(tile, config.global_px))
            if config.clean_px:
                clean.append(view.cut(tile, config.clean_px))
    for _ in range(config.num_local):
        for tile in tiles:
            view = _View.draw(tile, config.local_share, config.turns, rng)
            narrow.append(view.cut(tile, config.local_px))
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    b, side = len(tiles), config.global_px // patch_px
    first = draw_colours(b, config.first, generator)
    second = draw_colours(b, config.second, generator)
    return Crops(
        wide=_stack(wide, config.global_px),
        narrow=_stack(narrow, config.local_px),
        clean=_stack(clean, config.clean_px),
        wide_colours=_behind(first, second),
        narrow_colours=draw_colours(len(narrow), config.local, generator),
        stain=student_stain,
        masked=torch.from_numpy(draw_masks(NUM_GLOBAL * b, side, masks, rng)),
    )


@dataclass(frozen=True)
class _View:
    """A part of a tile, mirrored and turned."""

    box: tuple[int, int, int, int]
    mirrored: bool
    quarters: int

    @classmethod
    def draw(
        cls, tile: Tile, share: tuple[float, float], turns: bool, rng: np.random.Generator
    ) -> _View:
        height, width = tile.shape[:2]
        area = height * width * rng.uniform(share[0], share[1])
        aspect = math.exp(rng.uniform(math.log(_ASPECTS[0]), math.log(_ASPECTS[1])))
        # What would stick out is cut to the tile rather than drawn again: one draw per crop.
        w = min(width, max(1, round(math.sqrt(area * aspect))))
        h = min(height, max(1, round(math.sqrt(area / aspect))))
        left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        mirrored, quarters = bool(rng.integers(2)), int(rng.integers(4))
        return cls((left, top, left + w, top + h), mirrored, quarters if turns else 0)

    def cut(self, tile: Tile, side: int) -> UInt8[NDArray[np.uint8], "s s 3"]:
        from PIL import Image

        image = Image.fromarray(tile)
        small = image.resize((side, side), Image.Resampling.BICUBIC, box=self.box)
        array = np.rot90(np.asarray(small), self.quarters)
        return array[:, ::-1] if self.mirrored else array


def _stack(crops: list[Tile], side: int) -> Tensor:
    if not crops:
        return torch.zeros(0, side, side, 3, dtype=torch.uint8)
    return torch.from_numpy(np.stack(crops))


def _behind(one: Colours, other: Colours) -> Colours:
    names = ("stain", "factors", "hue", "grey", "sigma")
    return Colours(*(torch.cat([getattr(one, name), getattr(other, name)]) for name in names))
