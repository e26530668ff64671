"""Take a model under training apart into base weights and LoRA adapter, ready to be written."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ruichat.model.configuration import RuiChatConfig
from ruichat.model.region_state import Array
from ruichat.model.weights import ADAPTER_CONFIG, ADAPTER_FILE


@dataclass(frozen=True)
class BaseParts:
    """A model without its adapter: config, and float32 weights by name, a tied one once."""

    config: RuiChatConfig
    weights: dict[str, Array]


@dataclass(frozen=True)
class AdapterParts:
    """An adapter as PEFT saves it: content by file name."""

    files: dict[str, bytes]


def split_adapter(model: Any) -> tuple[BaseParts, AdapterParts | None]:
    """Parts of a `RuiChatForConditionalGeneration`, or of a PEFT model around one.

    Weights come as they were before training wrapped them: modules that PEFT trains as a whole
    (`modules_to_save`) keep their original in the base and their new weights in the adapter.
    """
    if not hasattr(model, "peft_config"):
        return BaseParts(model.config, _weights(model.state_dict(), model.config)), None
    base = model.get_base_model()
    state: dict[str, Any] = {}
    for name, value in base.state_dict().items():
        if ".lora_" in name or ".modules_to_save." in name:
            continue
        state[name.replace(".base_layer.", ".").replace(".original_module.", ".")] = value
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        files = {
            name: (Path(folder) / name).read_bytes() for name in (ADAPTER_CONFIG, ADAPTER_FILE)
        }
    return BaseParts(base.config, _weights(state, base.config)), AdapterParts(files)


def _weights(state: dict[str, Any], config: RuiChatConfig) -> dict[str, Array]:
    weights = {
        name: np.array(value.detach().float().cpu().numpy(), order="C")
        for name, value in state.items()
    }
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    return weights
