"""What a tile encoder is, and the cards of those that can be chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from ruichat.registry import Registry, load_object


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """What is known of an encoder without its weights.

    Attributes:
        name: unique name.
        dim: width of its embeddings.
        tile_px: side of the tiles it was trained on, pixels.
        tile_mpp: their resolution, micrometres per pixel.
        mean: of red, green, blue in 0 to 1, subtracted before encoding.
        std: of red, green, blue in 0 to 1, divided by.
        license: of the weights, SPDX.
        revision: of the weights.
        loader: "module:function"; called without arguments, gives the Encoder.
    """

    name: str
    dim: int
    tile_px: int
    tile_mpp: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    license: str
    revision: str
    loader: str


@runtime_checkable
class Encoder(Protocol):
    """Anything that turns tiles into embeddings."""

    @property
    def card(self) -> EncoderCard:
        """What it is."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over its weights: bags of other weights don't mix with its own."""
        ...

    def encode(
        self, tiles: UInt8[NDArray[np.uint8], "n h w 3"]
    ) -> Float32[NDArray[np.float32], "n d"]:
        """One embedding per RGB tile; normalisation is the encoder's business."""
        ...


ENCODERS: Registry[EncoderCard] = Registry("encoder", "ruichat.encoders")

ENCODERS.add(
    EncoderCard(
        name="mini",
        dim=384,
        tile_px=224,
        tile_mpp=0.5,
        mean=(0.7, 0.7, 0.7),
        std=(0.2, 0.2, 0.2),
        license="Apache-2.0",
        revision="2026.1",
        loader="ruichat.features.mini:load_mini",
    )
)


def load_encoder(name: str) -> Encoder:
    """The encoder of that name, with its weights.

    Raises:
        ConfigError: there is no such encoder.
        PrerequisiteError: its packages or weights are missing.
    """
    return cast(Callable[[], Encoder], load_object(ENCODERS.get(name).loader))()
