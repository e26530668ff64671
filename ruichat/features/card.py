"""Cards of encoders: all that is known of them without their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from ruichat.errors import ConfigError

Interpolation = Literal["bilinear", "bicubic"]

Plain = str | int | float | bool

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Architecture:
    """How an encoder's module is made and its published weights are placed, as plain data.

    Attributes:
        build: "module:function"; called with `options`, gives a torch module with random weights
            that turns normalised pixels [b,3,h,w] into the published embedding [b,d]; for a slide
            encoder, embeddings [n,d] and cells of a grid [n,2] into that of the slide.
        rename: "module:function"; called with the content of the weights file and
            `rename_options`, gives the module's state dict.
        options: of `build`.
        rename_options: of `rename`.
    """

    build: str
    rename: str
    options: Mapping[str, Plain] = field(default_factory=dict[str, Plain])
    rename_options: Mapping[str, Plain] = field(default_factory=dict[str, Plain])


@runtime_checkable
class Published(Protocol):
    """What the cards of tile encoders and of slide encoders say of published weights."""

    @property
    def name(self) -> str:
        """Unique name."""
        ...

    @property
    def license(self) -> str:
        """Of the weights."""
        ...

    @property
    def gated(self) -> bool:
        """Whether the authors let people in one by one."""
        ...

    @property
    def hub(self) -> str:
        """Owner/name of their repository, or empty."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """Their names there."""
        ...

    @property
    def revision(self) -> str:
        """Their commit, or empty."""
        ...

    @property
    def source(self) -> str:
        """Where the facts are from."""
        ...

    @property
    def architecture(self) -> Architecture | None:
        """How the module is made."""
        ...


def hub_page(hub: str) -> str:
    """Address of a repository's page on the hub."""
    return f"https://huggingface.co/{hub}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCard:
    """What is known of an encoder without its weights.

    The published transform is: give tiles the stains of `stain_target`, resize the shorter side to
    `resize_px`, crop the centre to `crop_px`, scale to 0 to 1, normalise by `mean` and `std`.

    Attributes:
        name: unique name.
        title: as its authors write it; the name if empty.
        dim: width of its embeddings.
        tile_px: side of the tiles that it takes, pixels.
        tile_mpp: their resolution, micrometres per pixel.
        mean: of red, green, blue in 0 to 1, subtracted before encoding.
        std: of red, green, blue in 0 to 1, divided by.
        resize_px: shorter side after resizing, pixels; None leaves tiles as they are.
        crop_px: side of the centre that is kept after resizing, pixels; None keeps all.
        interpolation: of the resizing, antialiased as in Pillow.
        stain_target: file, among the weights' files, of the image to whose stains tiles are
            normalised after Macenko; empty where they are taken as they are.
        pooling: how the tokens become one vector, in words.
        license: of the weights, SPDX where there is such a name.
        gated: the authors hand out the weights only to whom they let in.
        hub: owner/name of the weights' repository; empty if they aren't on the hub.
        files: names that the weights have there, the preferred one first.
        revision: commit or version of the weights; empty where no public source pins one.
        num_parameters: of the published weights that make the embedding; 0 if unknown.
        source: paper or page that the facts are from.
        note: what a user should know beyond that.
        architecture: how the module is made; None where `loader` does it all.
        loader: "module:function"; called with a `RunConfig`, gives the Encoder.

    Raises:
        ConfigError: neither `architecture` nor `loader` is given, or both are.
    """

    name: str
    dim: int
    tile_px: int
    tile_mpp: float
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    license: str
    revision: str = ""
    title: str = ""
    resize_px: int | None = None
    crop_px: int | None = None
    interpolation: Interpolation = "bicubic"
    stain_target: str = ""
    pooling: str = ""
    gated: bool = False
    hub: str = ""
    files: tuple[str, ...] = ()
    num_parameters: int = 0
    source: str = ""
    note: str = ""
    architecture: Architecture | None = None
    loader: str = ""

    def __post_init__(self) -> None:
        if (self.architecture is None) == (not self.loader):
            raise ConfigError(
                f"the card of encoder {self.name!r} must have either an architecture or a loader",
                hint="Name one of both in the card",
            )

    @property
    def input_px(self) -> int:
        """Side of what the network sees of a tile, pixels."""
        return self.crop_px or self.resize_px or self.tile_px
