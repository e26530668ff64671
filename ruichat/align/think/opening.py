"""A checkpoint opened to be taught thoughts: in torch, its adapter folded in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ruichat.errors import ArtifactError, ConfigError
from ruichat.model.checkpoint import ADAPTER_DIR, CONFIG_FILE, MINI_DIR, WEIGHTS_FILE, read_manifest
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.weights import merge_adapter, read_weights
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
    manifest = read_manifest(folder)
    weights = read_weights(folder / WEIGHTS_FILE)
    if (folder / ADAPTER_DIR).is_dir():
        merge_adapter(weights, folder / ADAPTER_DIR)
    processor = RuiChatProcessor.from_pretrained(folder)
    settings: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    known = int(settings.get("num_added", 0))
    torch.manual_seed(0)
    model = RuiChatForConditionalGeneration(
        RuiChatConfig.from_dict({**settings, "num_added": len(processor.pieces.added)})
    )
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    if model.config.tie_word_embeddings:
        tensors["lm_head.weight"] = tensors["language_model.embed_tokens.weight"]
    missing, surplus = model.load_state_dict(tensors, strict=False)
    new = [] if known else [name for name in missing if name.startswith("pieces.")]
    if surplus or set(missing) - set(new):
        raise ArtifactError(
            f"weights and config.json don't agree: {[*surplus, *missing][:3]}",
            hint="Copy the folder again",
        )
    return model, processor, manifest
