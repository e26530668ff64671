"""Stage (d): instruction tuning. LoRA on the language model; projector and pointer train along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

from ruichat.align.batches import collate_words, write_turns
from ruichat.align.loop import Log, LoopConfig, run_loop
from ruichat.config import Config
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor
from ruichat.truth.bags import BagMaker, collate_bags
from ruichat.truth.dialogues import Balance


class InstructConfig(Config):
    """Settings of the instruction stage."""

    seed: int = 0
    slides_per_step: int = 24
    row_tokens: int = 224
    rank: int = 16
    alpha: int = 32
    tile_noise: float = 0.1
    loop: LoopConfig


TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def train_instruct(
    config: InstructConfig,
    model: RuiChatForConditionalGeneration,
    processor: RuiChatProcessor,
    bags: BagMaker,
    out: Path,
    log: Log = print,
) -> PeftModel:
    """Wrap the model in LoRA and train; resumes from `out`.

    Returns:
        The wrapped model: base weights as they came, adapter, and the region encoder and
        pointer as trained copies.
    """
    torch.manual_seed(config.seed)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=list(TARGETS),
        modules_to_save=["region_encoder", "pointer"],
    )
    wrapped = get_peft_model(model, lora)
    balance = Balance()
    spread = bags.spread

    def loss_of_step(step: int) -> Tensor:
        rng = np.random.default_rng((config.seed, 3, step))
        slides = [bags.draw(rng) for _ in range(config.slides_per_step)]
        items = [write_turns(s.truth, rng, balance, processor, config.row_tokens) for s in slides]
        words = collate_words(items, processor)
        batch = collate_bags(slides)
        tiles = batch.tile_embeddings
        return wrapped(
            words.input_ids,
            words.attention_mask,
            labels=words.labels,
            tile_embeddings=tiles + config.tile_noise * spread * torch.randn_like(tiles),
            tile_region=batch.tile_region,
            region_geometry=batch.region_geometry,
            region_mask=batch.region_mask,
            skip_logits=True,
            use_cache=False,
        ).loss

    run_loop(
        wrapped,
        loss_of_step,
        config.loop,
        out / "instruct.pt",
        name="instruct",
        log=log,
        carried=balance,
    )
    return wrapped
