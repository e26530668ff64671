"""Memory of training a vision transformer on crops, computed from shapes."""

from __future__ import annotations

from dataclasses import dataclass

from ruichat.align.preflight.memory import RESERVED_BYTES, TRAINED_BYTES, Memory
from ruichat.features.encoders.folder import VitShape

MLP_WIDTHS = 4
"""Width of a block's second half over that of the block."""


@dataclass(frozen=True)
class HeadShape:
    """A head on tokens.

    Attributes:
        parameters: of it.
        prototypes: numbers that it gives for a token.
        tokens: that it reads of one tile.
    """

    parameters: int
    prototypes: int
    tokens: float


@dataclass(frozen=True)
class VisionPlan:
    """How an encoder is trained.

    Attributes:
        shape: of it.
        tiles: of a micro-batch.
        tiles_ahead: whose crops wait on the device: those of the whole step.
        tokens: of the student, over all crops of a tile.
        pixels: of all crops of a tile, each counted once.
        heads: of the student, and again of its teacher.
        frozen: parameters that never learn: the anchor's, and distilled encoders'.
        likenesses: numbers between patches that a tile's loss keeps.
        half: whether matrices are multiplied in bfloat16.
        recompute: whether activations are computed again on the way back.
        processes: cards.
        sharded: whether the student is divided among them.
    """

    shape: VitShape
    tiles: int
    tiles_ahead: int
    tokens: int
    pixels: int
    heads: tuple[HeadShape, ...]
    frozen: int = 0
    likenesses: int = 0
    half: bool = False
    recompute: bool = False
    processes: int = 1
    sharded: bool = False


def vit_parameters(shape: VitShape) -> int:
    """Of the blocks' matrices and the patch projection; norms and biases are thousandths."""
    inner = MLP_WIDTHS * shape.width * (3 if shape.mlp == "swiglu" else 2)
    if shape.mlp == "swiglu" and shape.body == "dinov2":
        inner = inner * 2 // 3
    block = 4 * shape.width**2 + inner * shape.width
    return shape.depth * block + 3 * shape.patch_px**2 * shape.width


def block_activations(shape: VitShape, number: int) -> float:
    """Bytes that one block keeps per token, `number` bytes each.

    Counted off a block with fused attention: per norm its input in float32 and its output;
    queries, keys and values before and after rotation, attention's output; both sides of the
    activation; what the two scales multiply.
    """
    gated = shape.mlp == "swiglu"
    rotated = 2 if shape.body == "dinov3" else 0
    scaled = 0 if shape.body == "vit" else 2
    inner = MLP_WIDTHS * (2 / 3 if gated and shape.body == "dinov2" else 1)
    second = inner * (4 if gated else 2)
    return shape.width * (2 * (4 + number) + (3 + rotated + 1 + scaled + second) * number)


def vision_memory(plan: VisionPlan) -> Memory:
    """What one card holds at the worst moment of a step."""
    number, share = (2 if plan.half else 4), (1 / plan.processes if plan.sharded else 1.0)
    own = vit_parameters(plan.shape) + sum(head.parameters for head in plan.heads)
    block = block_activations(plan.shape, number) * plan.tokens * plan.tiles
    kept = plan.shape.depth * block
    if plan.recompute:
        kept = plan.shape.depth * plan.shape.width * number * plan.tokens * plan.tiles + block
    crops = plan.pixels * 3 * 4 * plan.tiles_ahead
    # The student's logits as computed, in float32 and their gradient; the teacher's once.
    logits = sum(head.tokens * head.prototypes for head in plan.heads) * (number + 4 + 4 + 4)
    # Weights are copied to bfloat16 for the length of a forward.
    halves = 2 * own if plan.half else 0
    return Memory(
        weights=4.0 * (own + plan.frozen) + halves,
        trained=own * TRAINED_BYTES * share,
        activations=kept + crops + 4.0 * plan.likenesses * plan.tiles,
        logits=logits * plan.tiles,
        reserved=RESERVED_BYTES,
    )
