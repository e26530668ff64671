"""Stage (c): align the projector, with the language model frozen.

Two signals bring real regions to where the language model already reads symbols: the loss on the
answers, and the distance to the vector that the region's truth would have had as a symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ruichat.align.batches import (
    SymbolBatch,
    WordBatch,
    collate_symbols,
    collate_words,
    write_turns,
)
from ruichat.align.language import LanguageStage
from ruichat.align.loop import Log, MicroBatch, run_loop
from ruichat.align.stages.contrast import Contrast
from ruichat.align.training.settings import InOrder
from ruichat.config import Config, Seed
from ruichat.model.processing import IGNORED, RuiChatProcessor
from ruichat.truth.bags import BagBatch, BagMaker, collate_bags
from ruichat.truth.dialogues import Balance


class ProjectorConfig(Config):
    """Settings of the alignment stage."""

    seed: Seed = 0
    slides_per_step: int = Field(default=24, gt=0)
    row_tokens: int = Field(default=224, gt=0)
    matching: float = Field(default=1.0, ge=0)
    """Weight of the distance to the symbolic vectors; 0 aligns by words alone."""
    tile_noise: float = Field(default=0.1, ge=0)
    """Noise on tile embeddings, in units of their spread."""
    contrastive: float = Field(default=0.0, ge=0)
    """Weight of the contrastive loss between slides and the words about them; 0 leaves it out."""
    loop: InOrder


@dataclass(frozen=True, slots=True)
class ProjectorBatch:
    """Dialogues, the slides they are about, and those slides as symbols."""

    words: WordBatch
    bags: BagBatch
    symbols: SymbolBatch


def region_loss(found: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """One minus the cosine between real and symbolic region vectors, over existing regions."""
    return (1 - F.cosine_similarity(found, wanted, dim=-1))[mask].mean()


def said_words(words: WordBatch) -> tuple[Tensor, Tensor]:
    """What the assistant says in each dialogue, [b,t], padded on the right, and its mask."""
    rows = [row[row != IGNORED] for row in words.labels]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return pad_sequence(rows, batch_first=True), mask


def train_projector(
    config: ProjectorConfig,
    stage: LanguageStage,
    processor: RuiChatProcessor,
    bags: BagMaker,
    out: Path,
    log: Log = print,
) -> None:
    """Train the region encoder in place; resumes from `out`."""
    stage.requires_grad_(False)
    stage.model.region_encoder.requires_grad_(True)
    with torch.no_grad():
        stage.model.region_encoder.scale.fill_(stage.symbols.scale)
    contrast = None
    if config.contrastive:
        torch.manual_seed(config.seed)
        contrast = stage.contrast = Contrast(stage.model.config.text_config.hidden_size)
    balance = Balance()
    spread = bags.spread

    def draw(step: int) -> ProjectorBatch:
        rng = np.random.default_rng((config.seed, 2, step))
        slides = [bags.draw(rng) for _ in range(config.slides_per_step)]
        items = [write_turns(s.truth, rng, balance, processor, config.row_tokens) for s in slides]
        return ProjectorBatch(
            collate_words(items, processor),
            collate_bags(slides),
            collate_symbols([slide.truth for slide in slides]),
        )

    def loss_of(batch: ProjectorBatch) -> Tensor:
        words, slides = batch.words, batch.bags
        tiles = slides.tile_embeddings
        tiles = tiles + config.tile_noise * spread * torch.randn_like(tiles)
        found = stage.model.encode_regions(tiles, slides.tile_region, slides.region_geometry)
        loss = stage.model(
            words.input_ids,
            words.attention_mask,
            labels=words.labels,
            region_embeds=found,
            region_mask=slides.region_mask,
            skip_logits=True,
            use_cache=False,
        ).loss
        if config.matching > 0:
            with torch.no_grad():
                wanted = stage.symbols(batch.symbols)
            first = found[..., : wanted.shape[-1]]
            loss = loss + config.matching * region_loss(first, wanted, slides.region_mask)
        if contrast is not None:
            said, said_mask = said_words(words)
            of_words = contrast(stage.model, said, said_mask, found, slides.region_mask)
            loss = loss + config.contrastive * of_words
        return loss

    run_loop(
        stage,
        lambda step: [lambda: MicroBatch(draw(step))],
        loss_of,
        config.loop,
        out / "projector",
        name="projector",
        log=log,
        carried=balance,
        settings=config.fingerprint(),
    )
