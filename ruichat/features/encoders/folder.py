"""Encoders that a user made: a folder with weights and, beside them, the card as YAML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ruichat.config import Config
from ruichat.errors import ArtifactError, ConfigError
from ruichat.features.card import IMAGENET_MEAN, IMAGENET_STD, EncoderCard, Interpolation
from ruichat.features.encoders.architectures import transformers_vit
from ruichat.features.encoders.weights import weights_root

CARD_FILE = "encoder.yaml"
"""Name of the card in an encoder's folder."""

SCHEMA = "ruichat-encoder-1"

_POOLING = {"cls": "CLS token", "mean": "mean of the patch tokens"}
_POOLING["cls+mean"] = f"{_POOLING['cls']}, then {_POOLING['mean']}"

Rgb = tuple[float, float, float]
Spread = Annotated[float, Field(gt=0)]


class VitShape(Config):
    """A vision transformer, as `vit.build` makes it."""

    body: Literal["vit", "dinov2", "dinov3"]
    """Plain blocks, blocks with LayerScale, or those with rotary positions too."""
    width: int = Field(gt=0)
    depth: int = Field(gt=0)
    heads: int = Field(gt=0)
    patch_px: int = Field(gt=0)
    registers: int = Field(0, ge=0)
    """Tokens beside CLS that stand for no patch; not of "vit"."""
    mlp: Literal["gelu", "swiglu"] = "gelu"
    eps: float = Field(1e-6, gt=0)
    """Of the layer norms."""
    key_bias: bool = True
    """Of "dinov3"; the others always have it."""

    @model_validator(mode="after")
    def _possible(self) -> VitShape:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} isn't a multiple of heads {self.heads}")
        if self.body == "dinov3" and self.width // self.heads % 4:
            raise ValueError(f"rotary positions need heads of 4 n wide, not {self.head_width}")
        if self.body == "vit" and (self.registers or self.mlp == "swiglu"):
            raise ValueError("body 'vit' has neither registers nor swiglu")
        return self

    @property
    def head_width(self) -> int:
        """Of one head of attention."""
        return self.width // self.heads


class FolderCard(Config):
    """What the card of a user's encoder says; see `EncoderCard` for the words."""

    model_config = {**Config.model_config, "populate_by_name": True}

    schema_: Literal["ruichat-encoder-1"] = Field(SCHEMA, alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    title: str = ""
    dim: int = Field(gt=0)
    tile_px: int = Field(gt=0)
    tile_mpp: float = Field(gt=0)
    mean: Rgb = IMAGENET_MEAN
    std: tuple[Spread, Spread, Spread] = IMAGENET_STD
    resize_px: int | None = Field(None, gt=0)
    crop_px: int | None = Field(None, gt=0)
    interpolation: Interpolation = "bicubic"
    pooling: Literal["cls", "mean", "cls+mean"] = "cls"
    license: str
    weights: str = Field("model.safetensors", pattern=r"^[^/\\]+$")
    """File in the same folder."""
    num_parameters: int = Field(0, ge=0)
    source: str = ""
    note: str = ""
    architecture: VitShape

    @model_validator(mode="after")
    def _fits(self) -> FolderCard:
        shape = self.architecture
        wanted = shape.width * (2 if self.pooling == "cls+mean" else 1)
        if self.dim != wanted:
            raise ValueError(
                f"dim is {self.dim}; width {shape.width} pooled by {self.pooling!r} gives {wanted}"
            )
        if self.input_px % shape.patch_px:
            raise ValueError(f"{self.input_px} px aren't whole patches of {shape.patch_px} px")
        return self

    @property
    def input_px(self) -> int:
        """Side of what the network sees of a tile, pixels."""
        return self.crop_px or self.resize_px or self.tile_px

    def card(self) -> EncoderCard:
        """As every command knows encoders."""
        shape = self.architecture
        return EncoderCard(
            name=self.name,
            title=self.title,
            dim=self.dim,
            tile_px=self.tile_px,
            tile_mpp=self.tile_mpp,
            mean=self.mean,
            std=self.std,
            resize_px=self.resize_px,
            crop_px=self.crop_px,
            interpolation=self.interpolation,
            pooling=_POOLING[self.pooling],
            license=self.license,
            files=(self.weights,),
            num_parameters=self.num_parameters,
            source=self.source or "the folder's own card",
            note=self.note,
            architecture=transformers_vit(
                shape.body,
                {"width": shape.width, "depth": shape.depth, "heads": shape.heads},
                patch_px=shape.patch_px,
                image_px=self.input_px,
                registers=shape.registers,
                mlp=shape.mlp,
                pooling=self.pooling,
                eps=shape.eps,
                key_bias=shape.key_bias,
            ),
        )


def read_folder_card(folder: Path) -> FolderCard:
    """The card in an encoder's folder.

    Raises:
        ConfigError: there is none, or a field of it is wrong.
        ArtifactError: the weights that it names aren't there.
    """
    card = FolderCard.from_yaml(folder / CARD_FILE)
    if not (folder / card.weights).is_file():
        raise ArtifactError(
            f"{folder / CARD_FILE} names weights {card.weights!r}, which aren't beside it",
            hint="Copy the whole folder, or correct `weights` in the card",
        )
    return card


def is_encoder_folder(path: Path) -> bool:
    """Whether that folder says of itself that it is an encoder."""
    return (path / CARD_FILE).is_file()


def kept_folders() -> Iterator[Path]:
    """Encoder folders in `$RUICHAT_WEIGHTS`, by name."""
    root = weights_root()
    if root is not None and root.is_dir():
        yield from sorted(path for path in root.iterdir() if is_encoder_folder(path))


def kept_folder(name: str) -> Path | None:
    """The folder in `$RUICHAT_WEIGHTS` whose card has that name.

    Raises:
        ConfigError: the card there has another name, under which it can't be found.
    """
    root = weights_root()
    if root is None or not is_encoder_folder(root / name):
        return None
    found = read_folder_card(root / name).name
    if found != name:
        raise ConfigError(
            f"the card in {root / name} is of encoder {found!r}",
            hint=f"Name the folder {found}, or set `name: {name}` in its {CARD_FILE}",
        )
    return root / name
