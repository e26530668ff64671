"""Settings of `ruichat align pretrain` and `distill`, as their YAML files hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ruichat.align.loop import LoopConfig
from ruichat.align.pretraining.crops import CropConfig
from ruichat.align.pretraining.heads import HeadConfig
from ruichat.align.pretraining.masks import MaskConfig
from ruichat.align.pretraining.schedules import MomentumConfig, RiseConfig
from ruichat.align.pretraining.smeka import SmekaConfig
from ruichat.align.pretraining.tiles import TileSourceConfig
from ruichat.align.stain import ConcentrationConfig
from ruichat.config import Config, Seed
from ruichat.features.encoders.folder import Rgb, Spread, VitShape


class EncoderChoice(Config):
    """An encoder that is there already."""

    encoder: str
    """Name of a card, or folder with a card of its own."""
    weights: Path | None = None
    """File or folder, where they aren't found by themselves."""


class BackboneConfig(Config):
    """The vision transformer that is trained."""

    start: EncoderChoice | None = None
    """Goes on from this encoder; its heads too where its folder has them."""
    shape: VitShape | None = None
    """Begins with random weights."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Share of the student's half blocks that are left out."""
    layer_scale: float = Field(1e-5, gt=0)
    """What the scales of blocks begin with, where weights are random."""

    @model_validator(mode="after")
    def _one(self) -> BackboneConfig:
        if (self.start is None) == (self.shape is None):
            raise ValueError("give either start or shape")
        return self


class HeadTerm(Config):
    """A head and the weight of its loss; of weight 0 it isn't made."""

    weight: float = Field(1.0, ge=0)
    head: HeadConfig = HeadConfig.model_validate({})


class KoleoConfig(Config):
    """KoLeo."""

    weight: float = Field(0.1, ge=0)
    gather: bool = False
    """Look for neighbours in other processes too. Curves then hang on the number of processes."""


class GramConfig(Config):
    """Anchoring of patches in an earlier teacher."""

    weight: float = Field(1.0, gt=0)
    teacher: EncoderChoice | None = None
    """Whose patches; the own teacher as it is after `from_step` if none is named."""
    from_step: int = Field(0, ge=0)
    """Steps after which the loss counts, whoever the teacher is."""
    refresh_every: int = Field(0, ge=0)
    """Steps after which the own teacher takes the place again; 0 for never."""
    max_refreshes: int = Field(3, ge=0)


class TeacherConfig(Config):
    """The teacher that follows the student."""

    momentum: MomentumConfig = MomentumConfig.model_validate({})
    temperature: RiseConfig = RiseConfig.model_validate({"first": 0.04, "last": 0.07})
    balancing: Literal["sinkhorn", "centre"] = "sinkhorn"


class ResultConfig(Config):
    """The card of the encoder that is written."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    title: str = ""
    license: str
    """Of the weights: what the tiles' licences, and the first encoder's, allow."""
    tile_mpp: float = Field(gt=0)
    """Micrometres per pixel of the tiles."""
    mean: Rgb | None = None
    """Of red, green, blue in 0 to 1; those of the first encoder, or ImageNet's, if not given."""
    std: tuple[Spread, Spread, Spread] | None = None
    pooling: Literal["cls", "mean", "cls+mean"] = "cls"
    source: str = ""
    note: str = ""


class PretrainConfig(Config):
    """Self-supervised training of an encoder."""

    tiles: list[TileSourceConfig] = Field(min_length=1)
    seed: Seed = 0
    batch: int = Field(gt=1)
    """Tiles of a step, over all processes."""
    micro_batch: int = Field(gt=1)
    """Tiles of one forward."""
    backbone: BackboneConfig
    crops: CropConfig = CropConfig.model_validate({})
    masks: MaskConfig = MaskConfig.model_validate({})
    student_stain: ConcentrationConfig | None = ConcentrationConfig.model_validate({})
    """Of the second global crop, as the student alone sees it."""
    dino: HeadTerm = HeadTerm.model_validate({})
    ibot: HeadTerm = HeadTerm.model_validate({})
    koleo: KoleoConfig = KoleoConfig.model_validate({})
    gram: GramConfig | None = None
    teacher: TeacherConfig = TeacherConfig.model_validate({})
    hold_prototypes: float = Field(0.01, ge=0, lt=1)
    """Share of the steps, from the start, in which prototypes stay as they are."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Each block's learning rate as a share of that of the block after it."""
    patch_rate: float = Field(1.0, gt=0, le=1)
    """Learning rate of the patch projection, beyond `layer_decay`."""
    loop: LoopConfig
    result: ResultConfig

    @model_validator(mode="after")
    def _fits(self) -> PretrainConfig:
        if self.batch % self.micro_batch:
            raise ValueError(f"batch {self.batch} isn't a multiple of {self.micro_batch}")
        if self.loop.optimiser != "adamw":
            raise ValueError("optimiser must be adamw here")
        return self

    def settings(self) -> str:
        """Fingerprint over all but the loop's own settings, which keep one themselves."""
        nothing = LoopConfig.model_validate({"steps": 3, "learning_rate": 1})
        return self.model_copy(update={"loop": nothing}).fingerprint()


class DistillConfig(PretrainConfig):
    """Distillation of several encoders into one, beside its own self-supervision."""

    teachers: list[EncoderChoice] = Field(min_length=1)
    """Frozen; any vision transformers."""
    smeka: SmekaConfig = SmekaConfig.model_validate({})
