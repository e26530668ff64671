"""All cards that come with the package; reading them loads no torch."""

from __future__ import annotations

from ruichat.features.card import EncoderCard
from ruichat.features.encoders.cards_general import GENERAL
from ruichat.features.encoders.cards_pathology import PATHOLOGY
from ruichat.features.encoders.cards_timm import TIMM
from ruichat.features.encoders.cards_towers import TOWERS

MINI = EncoderCard(
    name="mini",
    title="RuiChat mini",
    dim=384,
    tile_px=224,
    tile_mpp=0.5,
    mean=(0.7, 0.7, 0.7),
    std=(0.2, 0.2, 0.2),
    pooling="mean and spread of every stage, reduced",
    license="Apache-2.0",
    revision="2026.1",
    source="RuiChat",
    loader="ruichat.features.mini:load_mini",
)

CARDS: tuple[EncoderCard, ...] = (MINI, *TIMM, *PATHOLOGY, *TOWERS, *GENERAL)
