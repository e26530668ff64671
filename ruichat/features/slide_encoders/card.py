"""Cards of slide encoders: all that is known of them without their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ruichat.errors import ConfigError
from ruichat.features.card import Architecture

Positions = Literal["unused", "from the slide's corner", "from the first tile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideEncoderCard:
    """What is known of a slide encoder without its weights.

    Attributes:
        name: unique name.
        title: as its authors write it; the name if empty.
        dim: width of its embeddings; 0 if that of the tiles' embeddings or of its weights.
        tile_encoder: name of the tile encoder whose bags it takes; any if empty.
        tile_dim: width of that encoder's embeddings; 0 if any.
        tile_px: side of the tiles, pixels; 0 if any.
        tile_mpp: their resolution, micrometres per pixel; 0 if any.
        positions: where the grid of tiles begins that the encoder sees.
        pooling: how tiles become one vector, in words.
        license: of the weights, SPDX where there is such a name.
        gated: the authors hand out the weights only to whom they let in.
        hub: owner/name of the weights' repository; empty if they aren't on the hub.
        files: names that the weights have there, the preferred one first; empty if it needs none.
        revision: commit of the weights; empty where no public source pins one.
        num_parameters: of the published weights that make the embedding; 0 if it has none.
        source: paper or page that the facts are from.
        note: what a user should know beyond that.
        architecture: how the module is made; None where `loader` does it all.
        loader: "module:function"; called with the card and a weights file or None, gives the
            SlideEncoder.

    Raises:
        ConfigError: neither `architecture` nor `loader` is given, or both are.
    """

    name: str
    dim: int = 0
    tile_encoder: str = ""
    tile_dim: int = 0
    tile_px: int = 0
    tile_mpp: float = 0.0
    positions: Positions = "unused"
    title: str = ""
    pooling: str
    license: str
    gated: bool = False
    hub: str = ""
    files: tuple[str, ...] = ()
    revision: str = ""
    num_parameters: int = 0
    source: str
    note: str = ""
    architecture: Architecture | None = None
    loader: str = ""

    def __post_init__(self) -> None:
        if (self.architecture is None) == (not self.loader):
            raise ConfigError(
                f"the card of slide encoder {self.name!r} must have either an architecture or a "
                "loader",
                hint="Name one of both in the card",
            )

    @property
    def tile_um(self) -> float:
        """Side of the tiles, micrometres; 0 if any."""
        return self.tile_px * self.tile_mpp
