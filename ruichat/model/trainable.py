"""A checkpoint loaded to be trained further: its weights frozen, its adapter learning on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruichat.errors import ConfigError
from ruichat.model.base import Quantise
from ruichat.model.checkpoint import MINI_DIR
from ruichat.model.checkpoint_files import read_manifest
from ruichat.model.network import load_network
from ruichat.model.processing import RuiChatProcessor
from ruichat.storage.artifacts import Manifest


def find_checkpoint(model: str, root: Path = Path()) -> Path:
    """The folder of an embedded model, or the folder that is given.

    Args:
        model: mini, or a folder.
        root: what a relative folder starts from.

    Raises:
        ConfigError: it is neither.
    """
    folder = MINI_DIR if model == "mini" else root / model
    if not folder.is_dir():
        raise ConfigError(
            f"{model!r} is neither mini nor a checkpoint folder",
            hint="Give mini, or a folder that ruichat align wrote",
        )
    return folder


@dataclass(frozen=True)
class Trainable:
    """A checkpoint's parts.

    Attributes:
        model: wrapped in its adapter where it has one that learns on; only that, and rows of
            pieces that are new, ask for gradients.
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
    add_pieces: bool = False,
    fold: bool = False,
) -> Trainable:
    """Load a checkpoint, its adapter apart so that training goes on in it.

    Args:
        folder: written by `checkpoint.save_checkpoint`.
        device: for example "cuda".
        dtype: of the language model, as torch names it; as it was saved if missing.
        quantise: "4bit" for a language model that the checkpoint refers to.
        add_pieces: give rows to pieces that the model wasn't trained with, those of thoughts.
        fold: fold the adapter into the weights instead, to make room for a fresh one.

    Raises:
        ArtifactError: something is missing, damaged or doesn't fit together.
        PrerequisiteError: the language model that it refers to isn't on this machine.
    """
    model = load_network(
        folder,
        device=device,
        dtype=dtype,
        quantise=quantise,
        trainable=not fold,
        add_pieces=add_pieces,
    )
    return Trainable(model, RuiChatProcessor.from_pretrained(folder), read_manifest(folder))
