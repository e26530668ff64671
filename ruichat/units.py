"""Lengths: level-0 pixels are the only frame that may cross a function boundary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NewType

from ruichat.errors import InputError

Px0 = NewType("Px0", int)
"""Pixels at level 0."""

Mpp = float
"""Micrometres per pixel."""

UM2_PER_MM2 = 1e6


def to_px0(px: float, *, mpp: Mpp, base_mpp: Mpp) -> Px0:
    """Length of `px` pixels at `mpp`, in level-0 pixels, rounded to nearest."""
    return Px0(round(px * mpp / base_mpp))


def scale_length(most: float) -> float:
    """Length of a scale bar: the longest of 1, 2, 5 times a power of ten that isn't over `most`."""
    power = 10 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most)


@dataclass(frozen=True, slots=True)
class Region0:
    """A box on the slide, in level-0 pixels, origin top left."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise InputError(
                f"region has size {self.width} x {self.height} px; both must be positive"
            )

    def check_inside(self, width: int, height: int) -> Region0:
        """Return self, or raise InputError if the box leaves a slide of this size."""
        if self.x < 0 or self.y < 0 or self.x + self.width > width or self.y + self.height > height:
            raise InputError(
                f"region {self.x},{self.y} {self.width} x {self.height} leaves the slide "
                f"of {width} x {height} px"
            )
        return self

    def area_mm2(self, base_mpp: Mpp) -> float:
        """Area in mm², where `base_mpp` is the resolution of level 0."""
        return self.width * self.height * base_mpp * base_mpp / UM2_PER_MM2
