"""A checkpoint opened to be taught thoughts: in torch, its adapter folded in."""

from __future__ import annotations

from pathlib import Path

from ruichat.errors import ConfigError
from ruichat.model.checkpoint import MINI_DIR
from ruichat.model.checkpoint_files import read_manifest
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.network import load_network
from ruichat.model.processing import RuiChatProcessor
from ruichat.storage.artifacts import Manifest


def find_checkpoint(model: str) -> Path:
    """The folder of an embedded model, or the folder that is given.

    Raises:
        ConfigError: it is neither.
    """
    folder = MINI_DIR if model == "mini" else Path(model)
    if not folder.is_dir():
        raise ConfigError(
            f"{model!r} is neither mini nor a checkpoint folder", hint="Give either as `model`"
        )
    return folder


def open_thinker(
    folder: Path,
) -> tuple[RuiChatForConditionalGeneration, RuiChatProcessor, Manifest]:
    """The model with rows for the pieces of thoughts; new ones where it had none.

    Raises:
        ArtifactError: something is missing or damaged, or doesn't fit together.
    """
    model = load_network(folder, add_pieces=True)
    model.requires_grad_(True)
    return model, RuiChatProcessor.from_pretrained(folder), read_manifest(folder)
