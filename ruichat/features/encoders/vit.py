"""Vision transformers of the published encoders, as transformers' own classes with a pooling.

timm's `VisionTransformer`, which most of them were published for, needs torchvision. Its blocks
are the same arithmetic as transformers' `ViT` (no LayerScale), `Dinov2` (LayerScale, also with
registers, GELU or SwiGLU) and `DINOv3ViT` (rotary positions).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Body = Literal["vit", "dinov2", "dinov3"]

Pooling = Literal["cls", "mean", "cls+mean"]

Mlp = Literal["gelu", "swiglu"]

MLP_RATIO = 4
"""Of all of them; in `Dinov2`, SwiGLU keeps two thirds, rounded up to a multiple of 8."""


class TileViT(nn.Module):
    """A transformer and what it takes as the tile's embedding.

    Args:
        body: gives `last_hidden_state`, normed tokens [b,t,e]: CLS, registers, patches.
        pooling: "cls", "mean" of the patches, or both one behind the other.
        num_prefix: tokens before the first patch.
    """

    def __init__(self, body: nn.Module, pooling: Pooling, num_prefix: int) -> None:
        super().__init__()
        self.body = body
        self.num_prefix = num_prefix
        self._pooling = pooling

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Embeddings of normalised pixels."""
        tokens = self.body(pixel_values=pixels).last_hidden_state
        if self._pooling == "cls":
            return tokens[:, 0]
        mean = tokens[:, self.num_prefix :].mean(dim=1)
        return mean if self._pooling == "mean" else torch.cat([tokens[:, 0], mean], dim=-1)

    def tokens(
        self, pixels: Float[Tensor, "b 3 h w"], masked: Bool[Tensor, "b p"] | None = None
    ) -> Float[Tensor, "b t e"]:
        """Normed tokens of pixels of any size in whole patches: CLS, registers, patches.

        Args:
            pixels: normalised.
            masked: patches that are hidden from it, row by row; needs `mask_token` in `build`.
        """
        given: dict[str, Any] = {"pixel_values": pixels, "bool_masked_pos": masked}
        if _resamples_on_request(self.body):
            given["interpolate_pos_encoding"] = True
        return self.body(**given).last_hidden_state


def build(
    *,
    body: Body,
    width: int,
    depth: int,
    heads: int,
    patch_px: int,
    image_px: int = 224,
    registers: int = 0,
    mlp: Mlp = "gelu",
    pooling: Pooling = "cls",
    eps: float = 1e-6,
    key_bias: bool = True,
    mask_token: bool = False,
    drop_path: float = 0.0,
    layer_scale: float = 1.0,
) -> TileViT:
    """A vision transformer with random weights.

    Args:
        body: which of transformers' classes.
        width: of the tokens.
        depth: number of blocks.
        heads: of each attention.
        patch_px: side of a patch, pixels.
        image_px: side of the images that it takes, pixels.
        registers: tokens beside CLS that stand for no patch.
        mlp: what a block's second half is.
        pooling: what becomes the embedding.
        eps: of the layer norms.
        key_bias: attention has one for keys too ("dinov3" only; the others always do).
        mask_token: something stands for patches that are hidden in training; bodies with
            registers and "dinov3" have it in any case.
        drop_path: share of the blocks' halves that training leaves out of a row (not "vit").
        layer_scale: what the scales of the blocks start from (not "vit").
    """
    shape: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "patch_size": patch_px,
        "image_size": image_px,
        "layer_norm_eps": eps,
    }
    if body == "vit":
        return TileViT(_vit(shape, mask_token), pooling, 1)
    shape |= {"drop_path_rate": drop_path, "layerscale_value": layer_scale}
    if body == "dinov2":
        module = _dinov2(shape, registers, mlp, mask_token)
    else:
        module = _dinov3(shape, registers, mlp, key_bias)
    return TileViT(module, pooling, 1 + registers)


def _resamples_on_request(body: nn.Module) -> bool:
    """Whether positions follow the size of the image only where that is asked for."""
    from transformers.models.vit import ViTModel

    return isinstance(body, ViTModel)


def _vit(shape: dict[str, Any], mask_token: bool) -> nn.Module:
    from transformers.models.vit import ViTConfig, ViTModel

    config = ViTConfig(**shape, intermediate_size=MLP_RATIO * shape["hidden_size"])
    return ViTModel(config, add_pooling_layer=False, use_mask_token=mask_token)


def _dinov2(shape: dict[str, Any], registers: int, mlp: Mlp, mask_token: bool) -> nn.Module:
    shape = {**shape, "mlp_ratio": MLP_RATIO, "use_swiglu_ffn": mlp == "swiglu"}
    if registers == 0:
        from transformers.models.dinov2 import Dinov2Config, Dinov2Model

        return Dinov2Model(Dinov2Config(**shape, use_mask_token=mask_token))
    from transformers.models.dinov2_with_registers import (
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    return Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(**shape, num_register_tokens=registers)
    )


def _dinov3(shape: dict[str, Any], registers: int, mlp: Mlp, key_bias: bool) -> nn.Module:
    from transformers.models.dinov3_vit import DINOv3ViTConfig, DINOv3ViTModel

    return DINOv3ViTModel(
        DINOv3ViTConfig(
            **shape,
            intermediate_size=MLP_RATIO * shape["hidden_size"],
            num_register_tokens=registers,
            use_gated_mlp=mlp == "swiglu",
            hidden_act="silu" if mlp == "swiglu" else "gelu",
            key_bias=key_bias,
        )
    )
