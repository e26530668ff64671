"""The vision transformer that is trained, and those that are frozen beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ruichat.align.pretraining.settings import BackboneConfig, EncoderChoice
from ruichat.errors import ConfigError
from ruichat.features.card import IMAGENET_MEAN, IMAGENET_STD, EncoderCard
from ruichat.features.encoder import choose_encoder
from ruichat.features.encoders.folder import Rgb, VitShape
from ruichat.features.encoders.loading import load_module, read_state
from ruichat.features.encoders.vit import TileViT, build
from ruichat.features.encoders.weights import find_weights
from ruichat.storage.digests import digest_of

_BUILD = "ruichat.features.encoders.vit:build"

_MASK_TOKEN = "embeddings.mask_token"


@dataclass(frozen=True)
class Source:
    """An encoder's module with what its card says.

    Attributes:
        module: in float32 on the CPU.
        shape: of it.
        mean: that its pixels are normalised by.
        std: likewise.
        input_px: side of the tiles that its network takes.
        digest: of its weights; empty where they are random.
        folder: that its weights lie in.
    """

    module: TileViT
    shape: VitShape
    mean: Rgb
    std: Rgb
    input_px: int
    digest: str
    folder: Path | None

    def normalise(self, rgb: Tensor) -> Tensor:
        """Intensities in 0..1 as this encoder takes them."""
        mean, std = (rgb.new_tensor(v)[None, :, None, None] for v in (self.mean, self.std))
        return (rgb - mean) / std


def first_backbone(config: BackboneConfig, image_px: int, seed: int) -> Source:
    """The network to train, random or from an encoder, with a token for hidden patches.

    Raises:
        ConfigError, PrerequisiteError, ModelError: the encoder isn't there, or isn't a vision
            transformer that can be trained.
    """
    extra: dict[str, Any] = {"mask_token": True, "drop_path": config.drop_path}
    if config.start is None:
        assert config.shape is not None
        torch.manual_seed(seed)
        given = {**config.shape.model_dump(), "layer_scale": config.layer_scale}
        module = build(**given, image_px=image_px, **extra)
        return Source(module, config.shape, IMAGENET_MEAN, IMAGENET_STD, image_px, "", None)
    loaded = frozen_encoder(config.start)
    module = build(**loaded.shape.model_dump(), image_px=loaded.input_px, **extra)
    module.load_state_dict(loaded.module.state_dict(), strict=False)
    _restore_mask_token(module, config.start)
    return Source(
        module,
        loaded.shape,
        loaded.mean,
        loaded.std,
        loaded.input_px,
        loaded.digest,
        loaded.folder,
    )


def frozen_encoder(choice: EncoderChoice) -> Source:
    """An encoder's network as it was published, without gradients.

    Raises:
        ConfigError: it is no vision transformer of `encoders.vit`.
        PrerequisiteError, ModelError: its weights aren't here, or are another's.
    """
    chosen = choose_encoder(choice.encoder, choice.weights)
    shape = shape_of(chosen.card)
    path = find_weights(chosen.card, chosen.weights)
    module = load_module(chosen.card, path)
    assert isinstance(module, TileViT)
    card = chosen.card
    return Source(module, shape, card.mean, card.std, card.input_px, digest_of(path), path.parent)


def shape_of(card: EncoderCard) -> VitShape:
    """Sizes of an encoder's vision transformer.

    Raises:
        ConfigError: it is none of `encoders.vit`.
    """
    architecture = card.architecture
    if architecture is None or architecture.build != _BUILD:
        raise ConfigError(
            f"encoder {card.name!r} isn't a vision transformer whose tokens can be had here",
            hint="Choose a ViT, such as ruipath-dinov3, uni2-h, virchow2, h-optimus-1 or dinov2-b",
        )
    fields = {k: v for k, v in architecture.options.items() if k in VitShape.model_fields}
    return VitShape.checked(fields, source=f"the card of {card.name}")


def check_drop_path(shape: VitShape, drop_path: float) -> None:
    """Refuse a share of blocks to leave out where a body can't.

    Raises:
        ConfigError: it can't.
    """
    if shape.body == "vit" and drop_path:
        raise ConfigError(
            f"drop_path is {drop_path:g}, and blocks of body 'vit' can't be left out",
            hint="Set drop_path: 0, or take a body with LayerScale: dinov2 or dinov3",
        )


def _restore_mask_token(module: TileViT, choice: EncoderChoice) -> None:
    """What an earlier training learnt for hidden patches, which no embedding needs."""
    chosen = choose_encoder(choice.encoder, choice.weights)
    kept = read_state(find_weights(chosen.card, chosen.weights)).get(_MASK_TOKEN)
    token = dict(module.body.named_parameters())[_MASK_TOKEN]
    if kept is not None and kept.shape == token.shape:
        with torch.no_grad():
            token.copy_(kept)
