"""Stage (d): instruction tuning. LoRA on the language model; projector and pointer train along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

from ruichat.align.batches import WordBatch, collate_words, write_turns
from ruichat.align.laid_settings import LaidTraining
from ruichat.align.loop import Log, MicroBatch, run_loop
from ruichat.model.adapter import language_matrices
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor
from ruichat.truth.bags import BagBatch, SlideMaker, collate_bags
from ruichat.truth.dialogues import Balance


@dataclass(frozen=True, slots=True)
class InstructBatch:
    """Dialogues and the slides they are about."""

    words: WordBatch
    bags: BagBatch


def train_instruct(
    config: LaidTraining,
    model: RuiChatForConditionalGeneration,
    processor: RuiChatProcessor,
    bags: SlideMaker,
    out: Path,
    log: Log = print,
) -> PeftModel:
    """Wrap the model in LoRA and train; resumes from `out`.

    Returns:
        The wrapped model: base weights as they came, adapter, and the region encoder and
        pointer as trained copies.
    """
    wrapped = wrap_in_lora(model, config, whole=("region_encoder", "pointer"))
    made_of = config.fingerprint()
    train_adapter(wrapped, config, processor, bags, out / "instruct", "instruct", made_of, log)
    return wrapped


def wrap_in_lora(
    model: RuiChatForConditionalGeneration, config: LaidTraining, *, whole: Sequence[str]
) -> PeftModel:
    """The model with a fresh adapter; modules named in `whole` train as they are."""
    torch.manual_seed(config.seed)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=language_matrices(model),
        modules_to_save=list(whole) or None,
    )
    return get_peft_model(model, lora)


def train_adapter(
    wrapped: PeftModel,
    config: LaidTraining,
    processor: RuiChatProcessor,
    bags: SlideMaker,
    folder: Path,
    name: str,
    settings: str,
    log: Log = print,
) -> None:
    """Train what of a wrapped model asks for a gradient on dialogues about laid slides.

    Args:
        wrapped: the model.
        config: batches and steps.
        processor: its tokenizer.
        bags: lays the slides.
        folder: for states; a run that was interrupted goes on from there.
        name: of the run.
        settings: fingerprint of all that decides the run's numbers.
        log: takes lines.
    """
    balance = Balance()
    spread = bags.spread

    def draw(step: int) -> InstructBatch:
        rng = np.random.default_rng((config.seed, 3, step))
        slides = [bags.draw(rng) for _ in range(config.slides_per_step)]
        items = [
            write_turns(
                s.truth,
                rng,
                balance,
                processor,
                config.row_tokens,
                config.thoughts,
                plain=config.plain_thoughts,
            )
            for s in slides
        ]
        return InstructBatch(collate_words(items, processor), collate_bags(slides))

    def loss_of(batch: InstructBatch) -> Tensor:
        words, slides = batch.words, batch.bags
        tiles = slides.tile_embeddings
        return wrapped(
            words.input_ids,
            words.attention_mask,
            labels=words.labels,
            tile_embeddings=tiles + config.tile_noise * spread * torch.randn_like(tiles),
            tile_region=slides.tile_region,
            region_geometry=slides.region_geometry,
            region_mask=slides.region_mask,
            skip_logits=True,
            use_cache=False,
        ).loss

    run_loop(
        wrapped,
        lambda step: [lambda: MicroBatch(draw(step))],
        loss_of,
        config.loop,
        folder,
        name=name,
        log=log,
        carried=balance,
        settings=settings,
    )
