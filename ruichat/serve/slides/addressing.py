"""Deep-zoom addressing: levels that halve down to one pixel, each cut into squares from its corner.

Level 0 of the file is the last deep-zoom level, `num_levels - 1`. Squares don't overlap; those at
the right and bottom end with the level.

Source:
    Deep Zoom file format (Microsoft 2008), as OpenSeadragon's `DziTileSource` asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ruichat.errors import NotFoundError
from ruichat.slide.geometry import Box
from ruichat.units import Region0

TILE_PX = 256
"""Side of tiles where the file's own can't be handed on."""

STORED_PX = range(128, 513)
"""Sides of file tiles that are handed on: smaller ones cost requests, larger ones time."""


@dataclass(frozen=True, slots=True)
class DeepZoom:
    """The tiles of one slide.

    Attributes:
        width0: width of level 0, pixels.
        height0: height of level 0, pixels.
        tile_px: side of a tile, pixels of its level.
    """

    width0: int
    height0: int
    tile_px: int = TILE_PX

    @property
    def num_levels(self) -> int:
        """From one pixel to all of them."""
        return (max(self.width0, self.height0) - 1).bit_length() + 1

    def factor(self, level: int) -> int:
        """Level-0 pixels per pixel of a level.

        Raises:
            NotFoundError: there is no such level.
        """
        if not 0 <= level < self.num_levels:
            raise NotFoundError(f"no tiles at level {level}: there are {self.num_levels}")
        return 1 << (self.num_levels - 1 - level)

    def size(self, level: int) -> tuple[int, int]:
        """Width and height of a level; what is left of a last pixel counts as one."""
        factor = self.factor(level)
        return -(-self.width0 // factor), -(-self.height0 // factor)

    def grid(self, level: int) -> tuple[int, int]:
        """Columns and rows of tiles of a level."""
        width, height = self.size(level)
        return -(-width // self.tile_px), -(-height // self.tile_px)

    def box(self, level: int, column: int, row: int) -> Box:
        """A tile in the pixels of its level.

        Raises:
            NotFoundError: there is no such tile.
        """
        width, height = self.size(level)
        columns, rows = self.grid(level)
        if not (0 <= column < columns and 0 <= row < rows):
            raise NotFoundError(
                f"no tile {column}_{row} at level {level}: it has {columns} x {rows}"
            )
        x, y = column * self.tile_px, row * self.tile_px
        return Box(x, y, min(self.tile_px, width - x), min(self.tile_px, height - y))

    def region0(self, level: int, column: int, row: int) -> Region0:
        """A tile in level-0 pixels; its last pixel may reach over the slide's edge."""
        box, factor = self.box(level, column, row), self.factor(level)
        return Region0(box.x * factor, box.y * factor, box.width * factor, box.height * factor)


def choose_tile_px(stored: tuple[int, int] | None) -> int:
    """Side of a slide's tiles: that of the file's own at level 0 where they can be handed on."""
    if stored is None or stored[0] != stored[1] or stored[0] not in STORED_PX:
        return TILE_PX
    return stored[0]
