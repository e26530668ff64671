"""Whether encoders, crops and registers fit each other, before any weights are loaded."""

from __future__ import annotations

from ruichat.align.pretraining.backbone import check_drop_path, shape_of
from ruichat.align.pretraining.crops import CropConfig
from ruichat.align.pretraining.settings import DistillConfig, EncoderChoice, PretrainConfig
from ruichat.align.pretraining.smeka import check_slots
from ruichat.errors import ConfigError
from ruichat.features.encoder import choose_encoder
from ruichat.features.encoders.folder import VitShape
from ruichat.features.encoders.weights import find_weights


def check_encoders(config: PretrainConfig) -> None:
    """Refuse what the cards of encoders say can't be trained.

    Raises:
        ConfigError: an encoder is no vision transformer, or settings don't fit its shape.
        PrerequisiteError: the weights of one aren't here.
    """
    start = config.backbone.start
    shape = config.backbone.shape if start is None else _found(start)
    assert shape is not None
    check_drop_path(shape, config.backbone.drop_path)
    if isinstance(config, DistillConfig):
        check_slots(len(config.teachers), shape.registers)
        for teacher in config.teachers:
            _found(teacher)
    anchor = None
    if config.gram is not None:
        anchor = shape if config.gram.teacher is None else _found(config.gram.teacher)
    _check_grids(config, shape, anchor)


def cropping(config: PretrainConfig) -> CropConfig:
    """The crops that somebody sees: clean ones only frozen encoders, local ones only DINO."""
    crops = config.crops
    watched = config.gram is not None or isinstance(config, DistillConfig)
    return crops.model_copy(
        update={
            "clean_px": (crops.clean_px or crops.global_px) if watched else 0,
            "num_local": crops.num_local if config.dino.weight else 0,
        }
    )


def _found(choice: EncoderChoice) -> VitShape:
    """The shape of an encoder whose weights are here."""
    chosen = choose_encoder(choice.encoder, choice.weights)
    shape = shape_of(chosen.card)
    find_weights(chosen.card, chosen.weights)
    return shape


def _check_grids(config: PretrainConfig, shape: VitShape, anchor: VitShape | None) -> None:
    """Refuse crops that aren't whole patches."""
    crops, patch = cropping(config), shape.patch_px
    sides = {"global_px": crops.global_px}
    if crops.num_local:
        sides["local_px"] = crops.local_px
    wrong = [f"{name} {side}" for name, side in sides.items() if side % patch]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)} isn't a multiple of the patch's {patch} px",
            hint="Set crops to whole patches",
        )
    if anchor is not None and crops.clean_px % anchor.patch_px:
        raise ConfigError(
            f"clean_px {crops.clean_px} isn't a multiple of the {anchor.patch_px} px of a patch of "
            "the earlier teacher",
            hint="Set crops.clean_px to whole patches",
        )
