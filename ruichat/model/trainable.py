"""A checkpoint loaded to be trained further: base weights frozen, its adapter learning on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruichat.model.base import Quantise
from ruichat.model.checkpoint_files import read_manifest
from ruichat.model.network import load_network
from ruichat.model.processing import RuiChatProcessor
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


def load_trainable(
    folder: Path,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    quantise: Quantise = "none",
) -> Trainable:
    """Load a checkpoint with its adapter apart, so that training goes on in it.

    Args:
        folder: written by `checkpoint.save_checkpoint`.
        device: for example "cuda".
        dtype: of the language model, as torch names it; as it was saved if missing.
        quantise: "4bit" for a language model that the checkpoint refers to.

    Raises:
        ArtifactError: something is missing, damaged or doesn't fit together.
        PrerequisiteError: the language model that it refers to isn't on this machine.
    """
    model = load_network(folder, device=device, dtype=dtype, quantise=quantise, trainable=True)
    return Trainable(model, RuiChatProcessor.from_pretrained(folder), read_manifest(folder))
