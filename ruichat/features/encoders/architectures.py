"""Architectures of the cards, as plain data: which builder, which names, which shape."""

from __future__ import annotations

from ruichat.features.card import Architecture, Plain

_HERE = "ruichat.features.encoders"

SHAPES: dict[str, dict[str, Plain]] = {
    "S": {"width": 384, "depth": 12, "heads": 6},
    "B": {"width": 768, "depth": 12, "heads": 12},
    "L": {"width": 1024, "depth": 24, "heads": 16},
    "H": {"width": 1280, "depth": 32, "heads": 16},
    "g": {"width": 1536, "depth": 40, "heads": 24},
}
"""Sizes of vision transformers by the letter that papers give them."""


def timm_vit(
    shape: dict[str, Plain],
    *,
    patch_px: int,
    layer_scale: bool = True,
    registers: int = 0,
    mlp: str = "gelu",
    positions: str = "all",
    pooling: str = "cls",
    grid: int = 0,
) -> Architecture:
    """One published in the form of timm's `VisionTransformer`; see `vit_names.rename_timm`."""
    body = "dinov2" if layer_scale else "vit"
    return Architecture(
        build=f"{_HERE}.vit:build",
        rename=f"{_HERE}.vit_names:rename_timm",
        options={
            "body": body,
            **shape,
            "patch_px": patch_px,
            "registers": registers,
            "mlp": mlp,
            "pooling": pooling,
        },
        rename_options={"body": body, "mlp": mlp, "positions": positions, "grid": grid},
    )


def transformers_vit(
    body: str,
    shape: dict[str, Plain],
    *,
    patch_px: int,
    registers: int = 0,
    mlp: str = "gelu",
    pooling: str = "cls",
    eps: float = 1e-6,
    key_bias: bool = True,
    grid: int = 0,
    image_px: int = 224,
) -> Architecture:
    """One published in transformers' form; see `dino_names.rename_transformers`."""
    return Architecture(
        build=f"{_HERE}.vit:build",
        rename=f"{_HERE}.dino_names:rename_transformers",
        options={
            "body": body,
            **shape,
            "patch_px": patch_px,
            "registers": registers,
            "mlp": mlp,
            "pooling": pooling,
            "eps": eps,
            "key_bias": key_bias,
            "image_px": image_px,
        },
        rename_options={"body": body, "mlp": mlp, "grid": grid},
    )
