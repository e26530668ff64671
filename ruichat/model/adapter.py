"""Take a model under training apart into base weights and LoRA adapter, ready to be written."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from ruichat.errors import ModelError
from ruichat.model.base import BaseReference
from ruichat.model.configuration import RuiChatConfig
from ruichat.model.language_model import weights_print
from ruichat.model.weights import ADAPTER_CONFIG, ADAPTER_FILE

_LANGUAGE_MODEL = ("language_model.", "lm_head.")


def bare_model(model: Any) -> Any:
    """The `RuiChatForConditionalGeneration` itself, or the one inside a PEFT model."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def language_matrices(model: Any) -> list[str]:
    """Names of every matrix in the layers of a model's language model: what LoRA adapts."""
    return [
        f"language_model.{name}"
        for name, module in bare_model(model).language_model.named_modules()
        if isinstance(module, nn.Linear)
    ]


@dataclass(frozen=True)
class BaseParts:
    """A model without its adapter.

    Attributes:
        config: of the model.
        weights: by name, a tied one once; without the language model's where it is referred to.
        reference: to the language model, if it isn't among the weights.
        dtype: of the language model, as torch names it.
    """

    config: RuiChatConfig
    weights: dict[str, Tensor]
    reference: BaseReference | None
    dtype: str


@dataclass(frozen=True)
class AdapterParts:
    """An adapter as PEFT saves it: content by file name."""

    files: dict[str, bytes]


def split_adapter(
    model: Any, base: Literal["copy", "reference"] | None = None
) -> tuple[BaseParts, AdapterParts | None]:
    """Parts of a `RuiChatForConditionalGeneration`, or of a PEFT model around one.

    Weights come as they were before training wrapped them: modules that PEFT trains as a whole
    (`modules_to_save`) keep their original in the base and their new weights in the adapter.

    Args:
        model: the model.
        base: see `checkpoint.save_checkpoint`.

    Raises:
        ModelError: the language model can't be kept in this way.
    """
    if not hasattr(model, "peft_config"):
        return _base_parts(model, model.state_dict(), base), None
    inner = model.get_base_model()
    state: dict[str, Any] = {}
    for name, value in inner.state_dict().items():
        if ".lora_" in name or ".modules_to_save." in name:
            continue
        state[name.replace(".base_layer.", ".").replace(".original_module.", ".")] = value
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        files = {
            name: (Path(folder) / name).read_bytes() for name in (ADAPTER_CONFIG, ADAPTER_FILE)
        }
    return _base_parts(inner, state, base), AdapterParts(files)


def _base_parts(model: Any, state: dict[str, Any], base: str | None) -> BaseParts:
    refers = base == "reference" or (base is None and model.base is not None)
    if refers and (model.base is None or weights_print(model) != model.base_print):
        raise ModelError(
            "the language model isn't the published one (any more): it was trained or merged",
            hint="Save the checkpoint with base='copy'",
        )
    if not refers and getattr(model, "is_loaded_in_4bit", False):
        raise ModelError(
            "a language model held in 4 bits can't be copied into a checkpoint",
            hint="Save a reference to it, or load it without quantise",
        )
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in state.items()
        if not (refers and name.startswith(_LANGUAGE_MODEL))
    }
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    dtype = str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")
    return BaseParts(model.config, weights, model.base if refers else None, dtype)
