"""Shape of a RuiChat model, as transformers keeps it in config.json."""

from __future__ import annotations

from typing import Any, ClassVar, no_type_check

from transformers import AutoConfig, PreTrainedConfig

from ruichat.errors import ConfigError
from ruichat.model.regions import GEOMETRY_DIM
from ruichat.model.vocabulary import FIRST_REGION_ID, NUM_REGION_IDS

MINI_TEXT: dict[str, Any] = {
    "model_type": "qwen3",
    "vocab_size": 6000,
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 768,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""The embedded default's language model: 6.3M parameters at a vocabulary of 6,000."""


# transformers passes its dataclasses more arguments than they declare.
@no_type_check
class RuiChatConfig(PreTrainedConfig):
    """Region encoder, projector, pointer and language model.

    Attributes:
        text_config: a Qwen3 or other decoder config, or its dict with `model_type`.
        bag_dim: width of the tile embeddings.
        geometry_dim: numbers per region, see `regions.geometry_features`.
        encoder: name of the encoder whose bags the model reads.
        projector: "linear" or "mlp", from tile embedding to LM width.
        pool: "attention" or "mean", from tiles to regions.
        pool_heads: channel groups that attend to tiles on their own.
        pointer_dim: width in which hidden states meet regions.
        first_region_id: id of the piece [R1].
        num_region_ids: region pieces in the vocabulary.
        depths: blocks of `bag_dim / depths` in an embedding, one per encoder depth, shallow first.
        inject_layers: language model layers before which region vectors are added again: of depth
            i before the i-th of them, or of the only depth before each.
        num_added: pieces that the language model's vocabulary lacks; their ids follow it.
        max_regions: regions a slide is cut into at most.
    """

    model_type = "ruichat"
    sub_configs: ClassVar[Any] = {"text_config": AutoConfig}  # type: ignore[assignment]

    text_config: Any = None
    bag_dim: int = 192
    geometry_dim: int = GEOMETRY_DIM
    encoder: str = "mini"
    projector: str = "mlp"
    pool: str = "attention"
    pool_heads: int = 4
    pointer_dim: int = 64
    first_region_id: int = FIRST_REGION_ID
    num_region_ids: int = NUM_REGION_IDS
    depths: int = 1
    inject_layers: Any = ()
    num_added: int = 0
    max_regions: int = 32
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Turn a dict into a text config and refuse values no code path serves."""
        text = MINI_TEXT if self.text_config is None else self.text_config
        if isinstance(text, dict):
            settings = {key: value for key, value in text.items() if key != "model_type"}
            text = AutoConfig.for_model(text.get("model_type", "qwen3"), **settings)
        self.text_config = text
        self.tie_word_embeddings = bool(text.tie_word_embeddings)
        self.initializer_range = float(getattr(text, "initializer_range", 0.02))
        self.inject_layers = tuple(self.inject_layers)
        self.pad_token_id = text.pad_token_id
        self.bos_token_id = text.bos_token_id
        self.eos_token_id = text.eos_token_id
        _check(
            self.projector in ("linear", "mlp"), f"projector is {self.projector!r}", "linear, mlp"
        )
        _check(self.pool in ("attention", "mean"), f"pool is {self.pool!r}", "attention, mean")
        _check(
            text.hidden_size % self.pool_heads == 0,
            f"pool_heads is {self.pool_heads}",
            f"a divisor of the LM width {text.hidden_size}",
        )
        _check(
            self.max_regions <= self.num_region_ids,
            f"max_regions is {self.max_regions}",
            f"at most num_region_ids, {self.num_region_ids}",
        )
        _check(
            self.depths > 0 and self.bag_dim % self.depths == 0,
            f"depths is {self.depths}",
            f"a divisor of bag_dim, {self.bag_dim}",
        )
        _check_layers(self.inject_layers, self.depths, text.num_hidden_layers)
        super().__post_init__(**kwargs)


def _check_layers(layers: tuple[int, ...], depths: int, num_layers: int) -> None:
    _check(
        all(0 < layer < num_layers for layer in layers) and sorted(set(layers)) == list(layers),
        f"inject_layers is {list(layers)}",
        f"rising numbers from 1 to {num_layers - 1}",
    )
    _check(
        not layers or depths in (1, len(layers)),
        f"inject_layers has {len(layers)} layers for {depths} depths",
        "as many as depths, or any number for one depth",
    )


def _check(right: bool, found: str, allowed: str) -> None:
    if not right:
        raise ConfigError(f"{found}; allowed: {allowed}")
