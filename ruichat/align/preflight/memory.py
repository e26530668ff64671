"""Memory and work of a training step, computed from shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ruichat.align.preflight.shapes import LanguageShape, RegionShape

Base = Literal["fp32", "bf16", "4bit"]

BASE_BYTES: dict[Base, float] = {"fp32": 4, "bf16": 2, "4bit": 0.53}
"""Per frozen weight; 4 bits with a scale for each 64, itself at 8 bits. Source: Dettmers et al.
2023, arXiv:2305.14314."""

TRAINED_BYTES = 16
"""Per trained weight: value, gradient and Adam's two moments in float32."""

RESERVED_BYTES = 1.2e9
"""CUDA's context and the libraries' working space on a card. Ours, rounded up."""

FRAGMENTATION = 1.1
"""Of activations: what the allocator can't hand out again. Ours."""


@dataclass(frozen=True)
class Plan:
    """How a stage is run.

    Attributes:
        base: how the frozen weights are kept.
        rank: of LoRA; 0 leaves the language model frozen.
        tokens: text tokens of a micro-batch, regions included.
        tiles: tiles of a micro-batch.
        target_share: share of the text tokens that carry a loss.
        recompute: whether activations are computed again on the way back.
        written_tokens: text tokens of all completions that are written at once, their questions
            included.
        processes: cards.
        sharded: whether weights, gradients and moments are divided among the cards (FSDP2).
    """

    base: Base
    rank: int
    tokens: int
    tiles: int
    target_share: float = 0.5
    recompute: bool = True
    written_tokens: int = 0
    processes: int = 1
    sharded: bool = False

    @property
    def number_bytes(self) -> int:
        """Per number that is computed with."""
        return 4 if self.base == "fp32" else 2


@dataclass(frozen=True)
class Memory:
    """Bytes on one card.

    Attributes:
        weights: frozen.
        trained: trained weights with gradients and moments.
        activations: kept for the way back, at their most.
        logits: of the words that carry a loss.
        gathered: one layer's weights, gathered from all cards where they are divided.
        cache: keys and values of completions while they are written; gone before the step's way
            forward and back.
        reserved: whatever is done.
    """

    weights: float
    trained: float
    activations: float
    logits: float
    gathered: float = 0.0
    cache: float = 0.0
    reserved: float = RESERVED_BYTES

    @property
    def total(self) -> float:
        """All together."""
        kept = self.weights + self.trained + self.gathered + self.reserved
        return kept + FRAGMENTATION * max(self.activations + self.logits, self.cache)


def memory_of(language: LanguageShape, regions: RegionShape, plan: Plan) -> Memory:
    """What one card holds at the worst moment of a step."""
    share = 1 / plan.processes if plan.sharded else 1.0
    width = BASE_BYTES[plan.base]
    words = language.vocab * language.width * (1 if language.tied else 2)
    # Word embeddings and norms aren't quantised.
    weights = language.layers * language.layer_parameters * width + words * max(width, 2)
    trained = regions.parameters + (language.lora_parameters(plan.rank) if plan.rank else 0)
    activations = activation_bytes(language, plan) + tile_bytes(regions, plan)
    gathered = 2 * language.layer_parameters * max(width, 2) if plan.sharded else 0.0
    return Memory(
        weights=weights * share,
        trained=trained * TRAINED_BYTES * share,
        activations=activations,
        logits=logit_bytes(language, plan),
        gathered=gathered,
        cache=cache_bytes(language, plan),
    )


def activation_bytes(language: LanguageShape, plan: Plan) -> float:
    """Kept by the layers for the way back; recomputed layers keep their inputs alone."""
    number = plan.number_bytes
    layer = layer_activations(language, number, plan.rank) * plan.tokens
    if not plan.recompute:
        return language.layers * layer
    return language.layers * language.width * number * plan.tokens + layer


def layer_activations(language: LanguageShape, number: int, rank: int) -> float:
    """Bytes that one layer keeps per text token, `number` bytes each.

    Counted off a gated decoder layer with fused attention: per norm its input in float32 and its
    output; queries and keys before and after rotation, values, attention's output; gate, up,
    their activation and product; the way into each adapter.
    """
    e, q = language.width, language.heads * language.head_dim
    kv, inner = language.kv_heads * language.head_dim, language.inner
    norms = 2 * (e * 4 + e * number)
    attention = (3 * q + 4 * kv + 2 * q) * number
    forward = 4 * inner * number
    adapters = 7 * rank * number
    return norms + attention + forward + adapters


def logit_bytes(language: LanguageShape, plan: Plan) -> float:
    """Logits of the words that carry a loss: as computed, in float32, and their gradient."""
    number = plan.number_bytes
    return plan.tokens * plan.target_share * language.vocab * (number + 4 + 4)


def cache_bytes(language: LanguageShape, plan: Plan) -> float:
    """Keys and values of what is written, in every layer."""
    token = 2 * language.layers * language.kv_heads * language.head_dim * plan.number_bytes
    return token * plan.written_tokens


def tile_bytes(regions: RegionShape, plan: Plan) -> float:
    """Kept by the region encoder: normed tiles, hidden and projected ones, their weights."""
    return plan.tiles * (2 * regions.bag_dim + 4 * regions.width) * 4


def step_flops(language: LanguageShape, regions: RegionShape, plan: Plan) -> float:
    """Operations of a micro-batch: forward, and backward without gradients of frozen weights.

    Source:
        Two operations per weight and text token forward, as many for the gradient of the inputs,
        Kaplan et al. 2020, arXiv:2001.08361; attention itself and norms are left out.
    """
    body = language.layers * language.layer_parameters
    passes = 2 + 2 + (2 if plan.recompute else 0)
    adapters = 3 * 2 * language.lora_parameters(plan.rank) if plan.rank else 0
    head = 3 * 2 * plan.target_share * language.vocab * language.width
    projector = 3 * 2 * plan.tiles * regions.bag_dim * regions.width
    return plan.tokens * (passes * body + adapters + head) + projector
