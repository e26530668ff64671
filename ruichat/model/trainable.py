"""A checkpoint loaded to be trained further: base weights frozen, its adapter learning on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from ruichat.errors import ArtifactError
from ruichat.model.checkpoint import ADAPTER_DIR, CONFIG_FILE, WEIGHTS_FILE, read_manifest
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.weights import read_weights
from ruichat.storage.artifacts import Manifest


@dataclass(frozen=True)
class Trainable:
    """A checkpoint's parts.

    Attributes:
        model: wrapped in its adapter where it has one; only that asks for gradients.
        processor: its tokenizer.
        manifest: what it was made from.
    """

    model: Any
    processor: RuiChatProcessor
    manifest: Manifest


def load_trainable(folder: Path) -> Trainable:
    """Load a checkpoint with its adapter apart, so that training goes on in it.

    Args:
        folder: written by `checkpoint.save_checkpoint`.

    Raises:
        ArtifactError: something is missing, damaged or doesn't fit together.
    """
    manifest = read_manifest(folder)
    config = RuiChatConfig.from_pretrained(folder / CONFIG_FILE)
    model = RuiChatForConditionalGeneration(config)
    weights = {
        name: torch.from_numpy(value) for name, value in read_weights(folder / WEIGHTS_FILE).items()
    }
    if config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["language_model.embed_tokens.weight"]
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ArtifactError(
            f"weights and config.json don't agree: {error}", hint="Copy the folder again"
        ) from error
    model.requires_grad_(False)
    wrapped: Any = model
    if (folder / ADAPTER_DIR).is_dir():
        wrapped = PeftModel.from_pretrained(model, str(folder / ADAPTER_DIR), is_trainable=True)
    return Trainable(wrapped, RuiChatProcessor.from_pretrained(folder), manifest)
