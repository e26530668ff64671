"""A checkpoint as a torch model, for answering or to be trained further."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from ruichat.errors import ArtifactError, ConfigError
from ruichat.model.base import BASE_FILE, BaseReference, Quantise
from ruichat.model.checkpoint_files import ADAPTER_DIR, CONFIG_FILE, WEIGHTS_FILE, read_manifest
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.language_model import load_causal, name_pieces, prepare_generation, weights_print
from ruichat.model.modeling import RuiChatForConditionalGeneration
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.region_state import Array

_LANGUAGE_MODEL = ("language_model.", "lm_head.")


def load_network(
    folder: Path,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    quantise: Quantise = "none",
    trainable: bool = False,
    add_pieces: bool = False,
) -> Any:
    """The model of a checkpoint; what is ours stays in float32.

    Args:
        folder: written by `checkpoint.save_checkpoint`.
        device: for example "cuda".
        dtype: of the language model, as torch names it; as it was saved if missing.
        quantise: "4bit" for a language model that the checkpoint refers to.
        trainable: leave the adapter apart, as a PEFT model in which only it asks for gradients, and
            rows of pieces that are new. Otherwise it is merged, or works beside weights of 4 bits.
        add_pieces: give rows to pieces that the model wasn't trained with, those of thoughts.

    Raises:
        ArtifactError: something is missing, damaged or doesn't fit together.
        ConfigError: 4 bits are asked for weights that lie in the checkpoint, or no such dtype.
        PrerequisiteError: the language model isn't on this machine.
    """
    manifest = read_manifest(folder)
    config: Any = RuiChatConfig.from_pretrained(folder / CONFIG_FILE)
    kind = _dtype(dtype or manifest.details.get("dtype", "float32"))
    processor = RuiChatProcessor.from_pretrained(folder)
    grown = add_pieces and config.num_added == 0
    if grown:
        config.num_added = len(processor.pieces.added)
    if (folder / BASE_FILE).is_file():
        model = _around_base(folder, config, kind, quantise, device, grown)
    elif quantise != "none":
        raise ConfigError(
            f"{folder} holds its language model itself, which isn't quantised here",
            hint="Load it without quantise, or align with a reference to the language model",
        )
    else:
        model = _whole(folder, config, kind, grown)
    if grown:
        name_pieces(model, processor)
    placed: Any = model
    if quantise == "none":
        placed = placed.to(device)
    prepare_generation(placed, processor)
    placed.requires_grad_(False)
    network = _with_adapter(placed.eval(), folder, trainable, merged=quantise == "none")
    if grown and trainable:
        network.pieces.requires_grad_(True)
    return network


def region_weights(network: Any) -> dict[str, Array]:
    """Weights of the region encoder and the pointer as `region_state` reads them."""
    found: dict[str, Array] = {}
    for name in ("region_encoder", "pointer"):
        part: Any = getattr(network, name)
        # PEFT's trained copy of a whole module.
        part = part.modules_to_save["default"] if hasattr(part, "modules_to_save") else part
        for key, value in part.state_dict().items():
            found[f"{name}.{key}"] = value.detach().float().cpu().numpy()
    return found


def _dtype(name: str) -> torch.dtype:
    allowed = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in allowed:
        raise ConfigError(f"dtype is {name!r}; allowed: {', '.join(allowed)}")
    return allowed[name]


def _around_base(
    folder: Path,
    config: RuiChatConfig,
    dtype: torch.dtype,
    quantise: Quantise,
    device: str,
    grown: bool,
) -> RuiChatForConditionalGeneration:
    base = BaseReference.read(folder)
    causal = load_causal(base.find(folder), base.name, dtype, quantise, device)
    model = RuiChatForConditionalGeneration(config, causal)
    _fill(model, _read(folder), own_alone=True, grown=grown)
    for part in (model.region_encoder, model.pointer, model.pieces):
        if isinstance(part, nn.Module):
            part.to(device)
    model.base, model.base_print = base, weights_print(model)
    return model


def _whole(
    folder: Path, config: RuiChatConfig, dtype: torch.dtype, grown: bool
) -> RuiChatForConditionalGeneration:
    with no_init_weights():
        model = RuiChatForConditionalGeneration(config)
    tensors = _read(folder)
    for name, value in tensors.items():
        tensors[name] = value.to(dtype) if name.startswith(_LANGUAGE_MODEL) else value.float()
    _fill(model, tensors, own_alone=False, grown=grown)
    return model


def _read(folder: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{folder / WEIGHTS_FILE} is damaged: {error}", hint="Copy the checkpoint folder again"
        ) from error
    return {name: value.float() if value.dtype == torch.float16 else value
            for name, value in tensors.items()}  # fmt: skip


def _fill(
    model: RuiChatForConditionalGeneration,
    tensors: dict[str, Tensor],
    *,
    own_alone: bool,
    grown: bool,
) -> None:
    """Put weights into a model, all of them or all but the language model's."""
    wanted = {
        name for name in model.state_dict() if not (own_alone and name.startswith(_LANGUAGE_MODEL))
    }
    if model.config.tie_word_embeddings:
        wanted.discard("lm_head.weight")
    if grown:
        # Rows that the checkpoint wasn't trained with are named after words.
        wanted -= {name for name in wanted if name.startswith("pieces.")}
    if wanted != tensors.keys():
        differ = ", ".join(sorted(wanted ^ tensors.keys())[:3])
        raise ArtifactError(
            f"weights and config.json don't agree: {differ}", hint="Copy the folder again"
        )
    try:
        model.load_state_dict(tensors, strict=False, assign=True)
    except RuntimeError as error:
        raise ArtifactError(
            f"weights and config.json don't agree: {error}", hint="Copy the folder again"
        ) from error
    model.tie_weights()


def _with_adapter(model: Any, folder: Path, trainable: bool, *, merged: bool) -> Any:
    if not (folder / ADAPTER_DIR).is_dir():
        return model
    try:
        wrapped: Any = PeftModel.from_pretrained(
            model, str(folder / ADAPTER_DIR), is_trainable=trainable
        )
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"the adapter doesn't fit the model: {error}",
            hint="Load the adapter with the base it was trained on",
        ) from error
    if trainable:
        return wrapped
    if not merged:
        return wrapped.get_base_model().eval()
    network = wrapped.merge_and_unload().eval()
    # Its language model isn't the published one any more.
    network.base = None
    return network
