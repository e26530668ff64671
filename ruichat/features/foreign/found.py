"""What was found in another tool's file, before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

Tool = Literal["TRIDENT", "CLAM", "STAMP", "HistoGPT"]

Unit = Literal["level-0 pixels", "micrometres", "tile pixels"]
"""Of positions and sides; tile pixels are those of the resolution that tiles were read at."""


@dataclass(frozen=True)
class Found:
    """Content of a feature file.

    Attributes:
        tool: that wrote it.
        features: one row per tile.
        corners: top left corners of the tiles, x and y; None where the file has none.
        unit: of corners and side.
        encoder: as the tool calls it; None where the file doesn't say.
        side: of the tiles; None where the file doesn't say.
        tile_px: pixels a side as the encoder saw them; 0 where the file doesn't say.
        size0: width and height of the slide, level-0 pixels; None where the file doesn't say.
        magnification: that the tool took the slide for; no more than a name for a resolution.
        overlap_px: of neighbouring tiles, in pixels as the encoder saw them.
    """

    tool: Tool
    features: Float32[NDArray[np.float32], "n d"]
    corners: Float64[NDArray[np.float64], "m 2"] | None
    unit: Unit
    encoder: str | None = None
    side: float | None = None
    tile_px: int = 0
    size0: tuple[int, int] | None = None
    magnification: float | None = None
    overlap_px: int = 0


def plain(value: Any) -> Any:
    """An HDF5 attribute as a plain value; None for what tools write for nothing."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return None if value in ("None", "") else value


def number(value: Any) -> float | None:
    """A number, or the first of several that are the same thing in x and y; else None."""
    value = plain(value)
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return None if value is None or isinstance(value, dict) else float(value)
