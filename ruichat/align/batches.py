"""Batches of dialogues: the words, spliced as in serving, and the slides they are about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ruichat.histology import Language
from ruichat.model.processing import Encoded, RuiChatProcessor, Turn
from ruichat.truth.dialogues import Balance, write_dialogue
from ruichat.truth.dialogues.chains import write_chain
from ruichat.truth.facts import draw_facts
from ruichat.truth.symbolic import SymbolicSlide

MOST_TURNS = 8
"""Questions of one dialogue at most."""


@dataclass(frozen=True, slots=True)
class WordBatch:
    """Padded ids of b dialogues."""

    input_ids: Int[Tensor, "b t"]
    attention_mask: Int[Tensor, "b t"]
    labels: Int[Tensor, "b t"]


def write_turns(
    slide: SymbolicSlide,
    rng: np.random.Generator,
    balance: Balance,
    processor: RuiChatProcessor,
    row_tokens: int,
    thoughts: float = 0.0,
    *,
    plain: bool = False,
) -> Encoded:
    """One dialogue about a slide, as ids; the language is drawn.

    Args:
        slide: what is asked about.
        rng: all choices come from it.
        balance: carried through the whole run.
        processor: spells the words.
        row_tokens: questions are added while they fit, so that rows need little padding; the
            first always stays.
        thoughts: share of the answers that are thought about first.
        plain: write thoughts as plainly as they come.
    """
    language: Language = "en" if rng.random() < 0.5 else "zh"
    turns = write_dialogue(slide, rng, language, balance=balance, num_turns=MOST_TURNS)
    pairs = [
        Turn(qa.question, qa.answer, write_chain(qa, slide, rng, plain=plain) if thinks else "")
        for qa, thinks in zip(turns, _draw_share(rng, len(turns), thoughts), strict=True)
    ]
    facts = draw_facts(slide, rng)
    room = row_tokens - len(processor.prefix_ids(slide.num_regions, facts))
    ends = np.cumsum([processor.turn_tokens(turn) for turn in pairs])
    fitting = max(1, int(np.searchsorted(ends, room, side="right")))
    return processor.dialogue(pairs[:fitting], slide.num_regions, facts)


def _draw_share(rng: np.random.Generator, num: int, share: float) -> list[bool]:
    """Which of them; without a share nothing is drawn, so that batches stay what they were."""
    return (rng.random(num) < share).tolist() if share else [False] * num


def collate_words(items: list[Encoded], processor: RuiChatProcessor) -> WordBatch:
    """Pad on the right; lengths in steps of 16, so that kernels see few shapes."""
    batch = processor.collate(items, multiple_of=16)
    return WordBatch(
        torch.from_numpy(batch.input_ids),
        torch.from_numpy(batch.attention_mask),
        torch.from_numpy(batch.labels),
    )


@dataclass(frozen=True, slots=True)
class SymbolBatch:
    """Padded regions of b symbolic slides.

    Attributes:
        fractions: share of each class per region.
        geometry: see `model.regions.geometry_features`.
        mask: which regions exist.
    """

    fractions: Float[Tensor, "b k c"]
    geometry: Float[Tensor, "b k g"]
    mask: Bool[Tensor, "b k"]


def collate_symbols(slides: list[SymbolicSlide]) -> SymbolBatch:
    """Pad to the largest number of regions."""
    k = max(slide.num_regions for slide in slides)
    fractions = np.zeros((len(slides), k, slides[0].fractions.shape[1]), np.float32)
    geometry = np.zeros((len(slides), k, slides[0].geometry.shape[1]), np.float32)
    mask = np.zeros((len(slides), k), bool)
    for row, slide in enumerate(slides):
        fractions[row, : slide.num_regions] = slide.fractions
        geometry[row, : slide.num_regions] = slide.geometry
        mask[row, : slide.num_regions] = True
    return SymbolBatch(
        torch.from_numpy(fractions), torch.from_numpy(geometry), torch.from_numpy(mask)
    )
