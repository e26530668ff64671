"""Cards of the encoders that can be chosen by name; reading them loads no torch."""

from __future__ import annotations

from ruichat.features.card import Architecture, EncoderCard
from ruichat.features.encoders.cards_towers import TOWERS

VIT = "ruichat.features.encoders.vit:build"
TIMM = "ruichat.features.encoders.vit_names:rename_timm"

_MINI = EncoderCard(
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

_UNI2_H = EncoderCard(
    name="uni2-h",
    title="UNI2-h",
    dim=1536,
    tile_px=224,
    tile_mpp=0.5,
    resize_px=224,
    interpolation="bilinear",
    pooling="CLS token",
    license="CC-BY-NC-ND-4.0",
    gated=True,
    hub="MahmoodLab/UNI2-h",
    files=("pytorch_model.bin",),
    num_parameters=681_394_176,
    source="https://huggingface.co/MahmoodLab/UNI2-h",
    architecture=Architecture(
        build=VIT,
        rename=TIMM,
        options={
            "body": "dinov2",
            "width": 1536,
            "depth": 24,
            "heads": 24,
            "patch_px": 14,
            "registers": 8,
            "mlp": "swiglu",
        },
        rename_options={"body": "dinov2", "positions": "patches", "gated": True},
    ),
)

CARDS: tuple[EncoderCard, ...] = (_MINI, _UNI2_H, *TOWERS)
