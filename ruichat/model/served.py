"""A checkpoint's language model alone, adapter folded in, as transformers and servers read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM
from transformers.initialization import no_init_weights

from ruichat.errors import ConfigError, ModelError
from ruichat.model.hub_tokenizer import HubTokenizer
from ruichat.model.network import load_network
from ruichat.model.processing import RuiChatProcessor
from ruichat.storage.artifacts import write_atomic


def write_language_model(checkpoint: Path, out: Path) -> Path:
    """Write config, weights and tokenizer of a checkpoint's language model.

    Args:
        checkpoint: of ours.
        out: folder; new or empty.

    Raises:
        ConfigError: the folder holds something.
        ModelError: its tokenizer isn't one that servers read, as that of mini.
    """
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out} isn't empty", hint="Give a new folder")
    processor = RuiChatProcessor.from_pretrained(checkpoint)
    if not isinstance(processor.tokenizer, HubTokenizer):
        raise ModelError(
            f"the tokenizer of {checkpoint.name} isn't one that servers read",
            hint="Load the model from its folder; models aligned with a published language model "
            "can be served",
        )
    network = load_network(checkpoint)
    with no_init_weights():
        causal: Any = AutoModelForCausalLM.from_config(network.config.text_config)
    causal.get_decoder().load_state_dict(network.language_model.state_dict(), assign=True)
    causal.get_output_embeddings().load_state_dict(network.lm_head.state_dict(), assign=True)
    causal.tie_weights()
    causal.generation_config.eos_token_id = processor.end_id
    causal.save_pretrained(out)
    write_atomic(out / HubTokenizer.file_name, processor.tokenizer.to_bytes())
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    write_atomic(out / "tokenizer_config.json", json.dumps(settings).encode())
    return out
