"""Memory that `pretrain` and `distill` take, from their settings alone."""

from __future__ import annotations

from itertools import pairwise

from ruichat.align.preflight.room import Launch, Need, Way
from ruichat.align.preflight.vision import HeadShape, VisionPlan, vision_memory, vit_parameters
from ruichat.align.pretraining.backbone import shape_of
from ruichat.align.pretraining.crops import NUM_GLOBAL
from ruichat.align.pretraining.heads import HeadConfig
from ruichat.align.pretraining.settings import DistillConfig, EncoderChoice, PretrainConfig
from ruichat.features.encoder import choose_encoder
from ruichat.features.encoders.folder import VitShape


def vision_needs(config: PretrainConfig, launch: Launch) -> list[Need]:
    """What a step takes as it is set, with activations computed again, and in smaller parts.

    Raises:
        ConfigError: an encoder isn't known, or isn't a vision transformer.
    """
    ways: list[Way] = []
    tiles = config.micro_batch
    own = config.loop.gradient_checkpointing
    while tiles > 1 and config.batch % tiles == 0:
        for recompute in (own,) if own else (False, True):
            settings: dict[str, object] = {}
            if tiles != config.micro_batch:
                settings["micro_batch"] = tiles
            if recompute != own:
                settings["loop.gradient_checkpointing"] = True
            plan = _plan(config, launch, tiles, recompute)
            ways.append(Way(settings, vision_memory(plan)))
        tiles //= 2
    part = "distill" if isinstance(config, DistillConfig) else "pretrain"
    return [Need(part, tuple(ways))]


def _plan(config: PretrainConfig, launch: Launch, tiles: int, recompute: bool) -> VisionPlan:
    start, crops = config.backbone.start, config.crops
    shape = config.backbone.shape if start is None else _shape(start)
    assert shape is not None
    num_local = crops.num_local if config.dino.weight else 0
    wide, narrow = (side // shape.patch_px for side in (crops.global_px, crops.local_px))
    others = 1 + shape.registers
    teachers = config.teachers if isinstance(config, DistillConfig) else []
    # Each as drawn and as the student sees it.
    pixels = 2 * NUM_GLOBAL * crops.global_px**2 + num_local * crops.local_px**2
    return VisionPlan(
        shape=shape,
        tiles=tiles,
        tiles_ahead=max(tiles, config.batch // launch.processes),
        tokens=NUM_GLOBAL * (wide**2 + others) + num_local * (narrow**2 + others),
        pixels=pixels,
        heads=_heads(config, shape.width, NUM_GLOBAL * wide**2, NUM_GLOBAL + num_local),
        frozen=_frozen(config, shape),
        # Of the student and of one encoder at a time, before and after the logarithm.
        likenesses=4 * NUM_GLOBAL * wide**4 * len(teachers),
        half=config.loop.precision == "bf16",
        recompute=recompute,
        processes=launch.processes,
        sharded=launch.sharded,
    )


def _shape(choice: EncoderChoice) -> VitShape:
    return shape_of(choose_encoder(choice.encoder, choice.weights).card)


def _frozen(config: PretrainConfig, shape: VitShape) -> int:
    """Parameters of the anchor and of distilled encoders."""
    found = 0
    if config.gram is not None:
        teacher = config.gram.teacher
        found += vit_parameters(shape if teacher is None else _shape(teacher))
    if isinstance(config, DistillConfig):
        found += sum(vit_parameters(_shape(choice)) for choice in config.teachers)
    return found


def _heads(config: PretrainConfig, width: int, patches: int, crops: int) -> tuple[HeadShape, ...]:
    masked = patches * config.masks.crops * sum(config.masks.share) / 2
    terms = ((config.dino, float(crops)), (config.ibot, masked))
    return tuple(
        HeadShape(_parameters(term.head, width), term.head.prototypes, tokens)
        for term, tokens in terms
        if term.weight
    )


def _parameters(head: HeadConfig, width: int) -> int:
    sizes = [width, *[head.hidden] * (head.layers - 1), head.bottleneck]
    return sum(a * b for a, b in pairwise(sizes)) + head.bottleneck * head.prototypes
