"""Sizes of a language model and of what is trained beside it, from its config alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruichat.errors import ConfigError
from ruichat.model.weights import gate_width


class UnknownShapeError(ConfigError):
    """A model whose memory isn't computed here."""


@dataclass(frozen=True)
class LanguageShape:
    """Sizes of a decoder-only language model.

    Attributes:
        layers: decoder layers.
        width: e, of hidden states.
        heads, kv_heads, head_dim: of attention.
        inner: width of the feed-forward layers, which are gated.
        vocab: ids.
        tied: whether words are read and written by one matrix.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocab: int
    tied: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LanguageShape:
        """Read the content of a language model's config.json, of ours or of transformers.

        Raises:
            UnknownShapeError: a size is missing: it isn't a decoder of the usual form.
        """
        text: Mapping[str, Any] = config.get("text_config") or config
        experts = next((k for k in ("num_experts", "num_local_experts") if text.get(k)), None)
        if experts is not None:
            raise UnknownShapeError(
                f"the language model is a mixture of {text[experts]} experts",
                hint="Give the folder of a dense decoder-only language model",
            )
        try:
            heads, width = int(text["num_attention_heads"]), int(text["hidden_size"])
            return cls(
                layers=int(text["num_hidden_layers"]),
                width=width,
                heads=heads,
                kv_heads=int(text.get("num_key_value_heads") or heads),
                head_dim=int(text.get("head_dim") or width // heads),
                inner=int(text["intermediate_size"]),
                vocab=int(text["vocab_size"]),
                tied=bool(text.get("tie_word_embeddings", False)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnknownShapeError(
                f"config.json of the language model lacks {error}",
                hint="Give the folder of a decoder-only language model of transformers",
            ) from error

    @property
    def layer_matrices(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of the linear maps in a layer."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.width, q),
            "k_proj": (self.width, kv),
            "v_proj": (self.width, kv),
            "o_proj": (q, self.width),
            "gate_proj": (self.width, self.inner),
            "up_proj": (self.width, self.inner),
            "down_proj": (self.inner, self.width),
        }

    @property
    def layer_parameters(self) -> int:
        """Of one layer's linear maps; norms are left out, they are thousandths."""
        return sum(a * b for a, b in self.layer_matrices.values())

    @property
    def parameters(self) -> int:
        """Of the whole language model."""
        words = self.vocab * self.width * (1 if self.tied else 2)
        return words + self.layers * self.layer_parameters

    def lora_parameters(self, rank: int) -> int:
        """Of an adapter of all linear maps in all layers."""
        return self.layers * rank * sum(a + b for a, b in self.layer_matrices.values())


@dataclass(frozen=True)
class RegionShape:
    """Sizes of what carries regions into the language model.

    Attributes:
        bag_dim: d, of tile embeddings.
        width: e, of the language model.
        pointer_dim: of the pointer.
    """

    bag_dim: int
    width: int
    pointer_dim: int = 64

    @property
    def parameters(self) -> int:
        """Of projector, gate, geometry and pointer."""
        projector = self.bag_dim * self.width + self.width**2
        gate = 2 * self.bag_dim * gate_width(self.bag_dim)
        return projector + gate + self.width**2 + 2 * self.width * self.pointer_dim


QWEN3: dict[str, LanguageShape] = {
    "Qwen3-0.6B": LanguageShape(28, 1024, 16, 8, 128, 3072, 151_936, tied=True),
    "Qwen3-1.7B": LanguageShape(28, 2048, 16, 8, 128, 6144, 151_936, tied=True),
    "Qwen3-4B": LanguageShape(36, 2560, 32, 8, 128, 9728, 151_936, tied=True),
    "Qwen3-8B": LanguageShape(36, 4096, 32, 8, 128, 12_288, 151_936, tied=False),
    "Qwen3-14B": LanguageShape(40, 5120, 40, 8, 128, 17_408, 151_936, tied=False),
    "Qwen3-32B": LanguageShape(64, 5120, 64, 8, 128, 25_600, 151_936, tied=False),
}
"""Of the recipes' language models. Source: their config.json files, as published by Qwen."""
