"""What a tile encoder is, and the cards of those that can be chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from ruichat.errors import ConfigError
from ruichat.features.card import Architecture, EncoderCard
from ruichat.features.encoders.cards import CARDS
from ruichat.features.encoders.weights import own_weights
from ruichat.features.runtime.ways import RunConfig, Way
from ruichat.registry import Registry, load_object

__all__ = [
    "ENCODERS",
    "Architecture",
    "Chosen",
    "Encoder",
    "EncoderCard",
    "choose_encoder",
    "load_card",
    "load_encoder",
]


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


@dataclass(frozen=True)
class Chosen:
    """An encoder as the user named it.

    Attributes:
        card: what it is.
        weights: file or folder of its weights; None where they are looked for.
    """

    card: EncoderCard
    weights: Path | None


def choose_encoder(named: str, weights: Path | None = None) -> Chosen:
    """The encoder of a name or of a folder.

    Args:
        named: name of a registered card, path of a folder with a card of its own (see
            `encoders.folder`), or name of such a folder in `$RUICHAT_WEIGHTS`.
        weights: what the user gave beside it; otherwise a folder's own are taken.

    Raises:
        ConfigError: there is no such encoder, or a folder's card takes a registered name.
        ArtifactError: a folder lacks the weights that its card names.
    """
    from ruichat.features.encoders.folder import CARD_FILE, is_encoder_folder, kept_folder

    if named in set(ENCODERS):
        return Chosen(ENCODERS.get(named), weights)
    folder = Path(named).expanduser()
    if is_encoder_folder(folder):
        return _in_folder(folder, weights)
    if folder.is_dir():
        raise ConfigError(
            f"folder {named} holds no {CARD_FILE}, so it isn't an encoder",
            hint="Give an encoder's folder, or a name of `ruichat features list-encoders`",
        )
    kept = kept_folder(named)
    return Chosen(ENCODERS.get(named), weights) if kept is None else _in_folder(kept, weights)


def _in_folder(folder: Path, weights: Path | None) -> Chosen:
    from ruichat.features.encoders.folder import CARD_FILE, read_folder_card

    card = read_folder_card(folder).card()
    if card.name in set(ENCODERS):
        raise ConfigError(
            f"the card in {folder} takes the name of encoder {card.name!r}, which is another",
            hint=f"Change `name` in {folder / CARD_FILE}",
        )
    return Chosen(card, weights or folder / card.files[0])


def load_encoder(
    name: str,
    *,
    weights: Path | None = None,
    download: bool = False,
    run: RunConfig | None = None,
    note: Callable[[str], None] | None = None,
) -> Encoder:
    """The encoder of that name or folder, with its weights.

    Args:
        name: see `choose_encoder`.
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
    chosen = choose_encoder(name, weights)
    return load_card(chosen.card, weights=chosen.weights, download=download, run=run, note=note)


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
