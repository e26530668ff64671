"""What a tile encoder is, and the cards of those that can be chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from ruichat.features.card import Architecture, EncoderCard
from ruichat.features.encoders.cards import CARDS
from ruichat.features.encoders.weights import own_weights
from ruichat.features.runtime.ways import RunConfig, Way
from ruichat.registry import Registry, load_object

__all__ = ["ENCODERS", "Architecture", "Encoder", "EncoderCard", "load_card", "load_encoder"]


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

    @property
    def way(self) -> Way:
        """How it is run here; bags of another precision don't mix with its own."""
        ...

    def encode(
        self, tiles: UInt8[NDArray[np.uint8], "n h w 3"]
    ) -> Float32[NDArray[np.float32], "n d"]:
        """One embedding per RGB tile; normalisation is the encoder's business."""
        ...


ENCODERS: Registry[EncoderCard] = Registry("encoder", "ruichat.encoders")

for _card in CARDS:
    ENCODERS.add(_card)


def load_encoder(
    name: str,
    *,
    weights: Path | None = None,
    download: bool = False,
    run: RunConfig | None = None,
    note: Callable[[str], None] | None = None,
) -> Encoder:
    """The encoder of that name, with its weights.

    Args:
        name: of its card.
        weights: file or folder that holds its weights; otherwise they are looked for in
            `$RUICHAT_WEIGHTS/<name>` and the hub's cache.
        download: fetch weights that are nowhere here from the hub.
        run: how it may be run; measured on first use if None.
        note: told what takes long.

    Raises:
        ConfigError: there is no such encoder, or weights are given for one that brings its own,
            or it can't be run as `run` wants.
        PrerequisiteError: its packages or weights are missing.
        ModelError: the weights are of another encoder.
    """
    return load_card(ENCODERS.get(name), weights=weights, download=download, run=run, note=note)


def load_card(
    card: EncoderCard,
    *,
    weights: Path | None = None,
    download: bool = False,
    run: RunConfig | None = None,
    note: Callable[[str], None] | None = None,
) -> Encoder:
    """The encoder of a card, which need not be registered; see `load_encoder`."""
    if card.architecture is not None:
        from ruichat.features.encoders.loading import load_from_card

        return load_from_card(card, weights=weights, download=download, run=run, note=note)
    if weights is not None or download:
        raise own_weights(card)
    return cast(Callable[[RunConfig], Encoder], load_object(card.loader))(run or RunConfig())
