"""Which way of running a stage fits a card, and how long it should take there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from ruichat.align.preflight.memory import Base, Memory, Plan, memory_of, step_flops
from ruichat.align.preflight.shapes import LanguageShape, RegionShape
from ruichat.errors import PrerequisiteError

TOKEN_BUDGETS = (32_768, 16_384, 8_192, 4_096, 2_048)
"""Of a micro-batch, the largest that fits is taken: matrices multiply best when they are large."""

RANKS = (64, 32, 16, 8)

USABLE = 0.92
"""Of a card's memory that a proposal fills: what is foretold is right to some percent. Ours."""

ASSUMED_UTILISATION = 0.4
"""Share of a card's peak that training reaches, for the time that is foretold. Ours: between
what published trainings of this size report, 0.3 to 0.55; measure your own."""


@dataclass(frozen=True)
class Card:
    """An accelerator.

    Attributes:
        name: of the product.
        memory: bytes.
        flops: dense bfloat16 multiplications and additions per second. Source: its data sheet.
    """

    name: str
    memory: float
    flops: float


CARDS: dict[str, Card] = {
    "24gb": Card("RTX 4090, 24 GB", 24e9, 165e12),
    "40gb": Card("A100, 40 GB", 40e9, 312e12),
    "48gb": Card("L40S, 48 GB", 48e9, 362e12),
    "80gb": Card("H100, 80 GB", 80e9, 989e12),
    "141gb": Card("H200, 141 GB", 141e9, 989e12),
}


@dataclass(frozen=True)
class Proposal:
    """A plan that fits.

    Attributes:
        plan: how to run.
        memory: of one card.
        tokens_per_second: text tokens of all cards together, foretold, not measured.
    """

    plan: Plan
    memory: Memory
    tokens_per_second: float

    def hours(self, tokens: int) -> float:
        """For so many text tokens."""
        return tokens / self.tokens_per_second / 3600


def propose(
    language: LanguageShape,
    regions: RegionShape,
    card: Card,
    *,
    processes: int = 1,
    tiles_per_token: float = 1.0,
    trains_language: bool = True,
) -> Proposal:
    """The best plan that fits: whole weights before sharded, bf16 before 4 bits, a high rank.

    Args:
        language: the language model.
        regions: what is trained beside it.
        card: of each process.
        processes: cards.
        tiles_per_token: tiles that a text token brings along; slides have thousands.
        trains_language: with LoRA; else it stays frozen.

    Raises:
        PrerequisiteError: nothing fits; says how much the least would take.
    """
    least: Memory | None = None
    for plan in _plans(processes, tiles_per_token, trains_language):
        memory = memory_of(language, regions, plan)
        if least is None or memory.total < least.total:
            least = memory
        if memory.total <= USABLE * card.memory:
            flops = step_flops(language, regions, plan)
            speed = plan.tokens * card.flops * ASSUMED_UTILISATION / flops * processes
            return Proposal(plan, memory, speed)
    assert least is not None
    raise PrerequisiteError(
        f"training takes at least {least.total / 1e9:.0f} GB on each of {processes} cards; "
        f"{card.name} has {card.memory / 1e9:.0f} GB",
        hint="Take a smaller language model, a larger card, or more cards",
    )


def _plans(processes: int, tiles_per_token: float, trains_language: bool) -> Iterator[Plan]:
    """From the best to the most frugal; a small rank or budget comes after dividing weights."""
    bases: tuple[tuple[Base, bool], ...] = (("bf16", False), ("bf16", True), ("4bit", False))
    ways: list[tuple[Base, bool]] = [
        (base, sharded) for base, sharded in bases if processes > 1 or not sharded
    ]
    for ranks, budgets in ((RANKS[:1], TOKEN_BUDGETS[:-1]), (RANKS, TOKEN_BUDGETS)):
        for (base, sharded), rank, tokens, recompute in itertools.product(
            ways, ranks if trains_language else (0,), budgets, (False, True)
        ):
            yield Plan(
                base=base,
                rank=rank,
                tokens=tokens,
                tiles=round(tokens * tiles_per_token),
                recompute=recompute,
                processes=processes,
                sharded=sharded,
            )
