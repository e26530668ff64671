"""What can be said of every encoder on this machine without loading any: cards and weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ruichat.errors import ConfigError
from ruichat.features.card import EncoderCard
from ruichat.features.encoder import ENCODERS, choose_encoder
from ruichat.features.encoders.folder import kept_folders, read_folder_card
from ruichat.features.encoders.weights import find_local
from ruichat.features.slide_encoders.card import SlideEncoderCard
from ruichat.features.slide_encoders.cards import SLIDE_ENCODERS

AnyCard = EncoderCard | SlideEncoderCard

Presence = Literal["included", "here", "missing", "unclear"]
"""Weights come with the package or aren't needed, lie where they are looked for, or don't; or a
folder holds several files that could be them."""


@dataclass(frozen=True)
class Entry:
    """A card and where its weights are.

    Attributes:
        card: what the encoder is.
        weights: whether they are here.
        path: of the weights file, where it is here.
    """

    card: AnyCard
    weights: Presence
    path: Path | None

    def facts(self) -> dict[str, object]:
        """The card's fields and the weights' place, as plain values for JSON."""
        fields = asdict(self.card)
        loader, architecture = fields.pop("loader"), fields.pop("architecture")
        built = loader or f"{architecture['build']} {architecture['options']}"
        path = None if self.path is None else str(self.path)
        return {**fields, "built": built, "weights": self.weights, "path": path}


def entry(card: AnyCard) -> Entry:
    """Look where the card's weights are; the hub isn't asked."""
    if card.architecture is None and not card.files:
        return Entry(card, "included", None)
    try:
        path = find_local(card)
    except ConfigError:
        return Entry(card, "unclear", None)
    return Entry(card, "missing" if path is None else "here", path)


def entries() -> list[Entry]:
    """All registered tile encoders, by name, then those of the user in `$RUICHAT_WEIGHTS`."""
    registered = [entry(ENCODERS.get(name)) for name in ENCODERS]
    return registered + [entry(read_folder_card(folder).card()) for folder in kept_folders()]


def slide_entries() -> list[Entry]:
    """All registered slide encoders, by name."""
    return [entry(SLIDE_ENCODERS.get(name)) for name in SLIDE_ENCODERS]


def entry_of(name: str) -> Entry:
    """The tile or slide encoder of that name, or the tile encoder in that folder.

    Raises:
        ConfigError: there is neither.
        ArtifactError: the folder lacks the weights that its card names.
    """
    if name in set(SLIDE_ENCODERS):
        return entry(SLIDE_ENCODERS.get(name))
    chosen = choose_encoder(name)
    if chosen.weights is not None:
        return Entry(chosen.card, "here", chosen.weights)
    return entry(chosen.card)


def count_in_words(number: int) -> str:
    """A count of parameters as people write it: 1.13B, 303M, 0.7M."""
    if number >= 1_000_000_000:
        return f"{number / 1e9:.2f}B"
    return f"{number / 1e6:.0f}M" if number >= 10_000_000 else f"{number / 1e6:.1f}M"
