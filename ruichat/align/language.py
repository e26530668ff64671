"""Stage (b): teach the language model to speak, and to read slides spelled out as symbols.

Pixels are scarce and slow, slides made of symbols are neither. A symbolic region enters where a
real one will: as a vector added to its name. So the model learns to bind names, to compare, to
count and to cite on any number of slides before it sees an image; alignment then only has to
bring real regions to where the symbols were.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from ruichat.align.batches import (
    SymbolBatch,
    WordBatch,
    collate_symbols,
    collate_words,
    write_turns,
)
from ruichat.align.corpus import read_corpus
from ruichat.align.loop import Log, MicroBatch, run_loop
from ruichat.align.training.settings import InOrder
from ruichat.config import Config, Seed
from ruichat.features.encoder import ENCODERS
from ruichat.model.configuration import MINI_TEXT, RuiChatConfig
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import IGNORED, Encoded, RuiChatProcessor
from ruichat.model.regions import GEOMETRY_DIM
from ruichat.truth.dialogues import Balance
from ruichat.truth.symbolic import NUM_CLASSES, SymbolicConfig, draw_symbolic_slide


class LanguageConfig(Config):
    """Settings of the language stage."""

    seed: Seed = 0
    text_model: dict[str, int | str] = {}
    """Fields of the LM's config that differ from `MINI_TEXT`."""
    projector: str = "mlp"
    """Form of the projector that alignment will train: linear or mlp."""
    dialogues_per_step: int = Field(default=24, gt=0)
    row_tokens: int = Field(default=224, gt=0)
    """Length up to which questions are added to a dialogue, text tokens."""
    texts_per_step: int = Field(default=4, gt=0)
    text_tokens: int = Field(default=160, gt=0)
    """Length of a passage of plain text, text tokens."""
    blur: float = 0.1
    """Spread of noise on symbolic regions, in units of their own: real regions are never sharp."""
    region_scale: float = 0.1
    """RMS of region vectors. Words' start at 0.02 and grow to 0.07; regions must outweigh the
    names they are added to, or the model is slow to read them."""
    compiled: bool = False
    """Compile the decoder layers: 1.25 times as fast on two cores; needs a C++ compiler."""
    loop: InOrder
    symbolic: SymbolicConfig = SymbolicConfig()


class SymbolProjector(nn.Module):
    """Regions spelled as class shares, in the place of real ones; dropped after this stage."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.content = nn.Sequential(
            nn.Linear(NUM_CLASSES, width), nn.GELU(), nn.Linear(width, width)
        )
        self.geometry = nn.Sequential(
            nn.Linear(GEOMETRY_DIM, width), nn.GELU(), nn.Linear(width, width)
        )
        self.norm = nn.LayerNorm(width)
        self.scale = scale

    def forward(self, batch: SymbolBatch, blur: float = 0.0) -> Float[Tensor, "b k e"]:
        """Region vectors as large as word embeddings."""
        content = self.content(torch.sqrt(batch.fractions))
        if blur > 0:
            content = content + blur * content.detach().std() * torch.randn_like(content)
        where = self.geometry(torch.asinh(batch.geometry))
        return self.norm(content + where) * self.scale


@dataclass(frozen=True, slots=True)
class LanguageBatch:
    """Dialogues about symbolic slides, and passages of plain text."""

    words: WordBatch
    symbols: SymbolBatch
    texts: WordBatch


class LanguageStage(nn.Module):
    """What this stage trains."""

    def __init__(self, model: RuiChatForConditionalGeneration, region_scale: float) -> None:
        super().__init__()
        self.model = model
        width = model.config.text_config.hidden_size
        self.symbols = SymbolProjector(width, region_scale)

    def forward(self, batch: LanguageBatch, blur: float) -> Float[Tensor, ""]:
        """Mean loss over the words of the dialogues, and a fifth of that over the passages."""
        words, texts = batch.words, batch.texts
        loss = self.model(
            words.input_ids,
            words.attention_mask,
            labels=words.labels,
            region_embeds=self.symbols(batch.symbols, blur),
            region_mask=batch.symbols.mask,
            skip_logits=True,
            use_cache=False,
        ).loss
        text_loss = self.model(
            texts.input_ids,
            texts.attention_mask,
            labels=texts.labels,
            skip_logits=True,
            use_cache=False,
        ).loss
        return loss + 0.2 * text_loss


def build_model(config: LanguageConfig, processor: RuiChatProcessor) -> LanguageStage:
    """A model of the configured size with random weights."""
    torch.manual_seed(config.seed)
    text = {**MINI_TEXT, **config.text_model, "vocab_size": processor.vocab_size}
    settings = RuiChatConfig(
        text_config=text, bag_dim=ENCODERS.get("mini").dim, projector=config.projector
    )
    return LanguageStage(RuiChatForConditionalGeneration(settings), config.region_scale)


def passages(
    data_root: Path, processor: RuiChatProcessor, length: int, seed: int
) -> list[list[int]]:
    """The corpus as passages of equal length, in random order."""
    texts = [text for text, _ in read_corpus(data_root, seed=seed)]
    rng = np.random.default_rng(seed)
    stream: list[int] = []
    for i in rng.permutation(len(texts)):
        stream += [*processor.answer_ids(texts[i])]
    cut = [stream[i : i + length] for i in range(0, len(stream) - length, length)]
    return [cut[i] for i in rng.permutation(len(cut))]


def train_language(
    config: LanguageConfig,
    processor: RuiChatProcessor,
    data_root: Path,
    out: Path,
    log: Log = print,
) -> LanguageStage:
    """Train the language model and the symbols' projector; resumes from `out`."""
    stage = build_model(config, processor)
    if config.compiled:
        for layer in stage.model.language_model.layers:
            layer.compile(dynamic=True)
    balance = Balance()
    head = processor.prefix_ids()

    @functools.cache
    def texts() -> list[list[int]]:
        return passages(data_root, processor, config.text_tokens, config.seed)

    def draw(step: int) -> LanguageBatch:
        rng = np.random.default_rng((config.seed, 1, step))
        slides = [
            draw_symbolic_slide(rng, config.symbolic) for _ in range(config.dialogues_per_step)
        ]
        items = [write_turns(slide, rng, balance, processor, config.row_tokens) for slide in slides]
        rows = rng.integers(len(texts()), size=config.texts_per_step)
        plain = [Encoded(head + texts()[i], [IGNORED] * len(head) + texts()[i]) for i in rows]
        return LanguageBatch(
            collate_words(items, processor),
            collate_symbols(slides),
            collate_words(plain, processor),
        )

    run_loop(
        stage,
        lambda step: [lambda: MicroBatch(draw(step))],
        lambda batch: stage(batch, config.blur),
        config.loop,
        out / "language",
        name="language",
        log=log,
        carried=balance,
        settings=config.fingerprint(),
    )
    return stage
