"""Sizes of a checkpoint, read off config.json without transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruichat.errors import ArtifactError


@dataclass(frozen=True)
class ModelShape:
    """What running a model needs to know of its config.

    Attributes:
        architecture: the language model's `model_type`.
        num_layers: decoder layers.
        num_heads: query heads.
        num_kv_heads: key-value heads.
        head_dim: width of a head.
        width: LM width e.
        vocab_size: ids of the language model's own vocabulary.
        num_added: ids of added pieces, which follow.
        max_positions: text tokens a dialogue may have.
        norm_eps: of RMSNorm; 0 where the layers aren't plain.
        rope_theta: base of the rotary embedding; 0 where the layers aren't plain.
        plain: whether the layers are those that `openvino_step` writes out.
        tied: whether the vocabulary's weights are the word embeddings.
        inner: width of the feed-forward layers; 0 where the layers aren't plain.
        bag_dim: width of tile embeddings.
        encoder: name of the encoder.
        geometry_dim: numbers per region.
        projector: linear or mlp.
        pool: attention or mean.
        pool_heads: channel groups of the region pooling.
        pointer_dim: width of the pointer.
        first_region_id: id of [R1].
        num_region_ids: names in the vocabulary.
        max_regions: regions a slide is cut into at most.
        depths: blocks of a tile embedding, one per encoder depth.
        inject_layers: layers before which region vectors are added again.
    """

    architecture: str
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    width: int
    vocab_size: int
    num_added: int
    max_positions: int
    norm_eps: float
    rope_theta: float
    plain: bool
    tied: bool
    inner: int
    bag_dim: int
    encoder: str
    geometry_dim: int
    projector: str
    pool: str
    pool_heads: int
    pointer_dim: int
    first_region_id: int
    num_region_ids: int
    max_regions: int
    depths: int
    inject_layers: tuple[int, ...]

    @property
    def num_ids(self) -> int:
        """Ids in all."""
        return self.vocab_size + self.num_added

    @property
    def region_width(self) -> int:
        """Numbers per region: what is added to its name, and before deeper layers."""
        return self.width * (1 + len(self.inject_layers))

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ModelShape:
        """Read the content of a config.json.

        Raises:
            ArtifactError: it isn't a RuiChat config, or a size is missing.
        """
        if config.get("model_type") != "ruichat":
            raise ArtifactError(
                f"config.json says model_type {config.get('model_type')!r}, not 'ruichat'",
                hint="Give the folder of a RuiChat checkpoint",
            )
        try:
            return cls._of(config, config["text_config"])
        except (KeyError, TypeError) as error:
            raise ArtifactError(
                f"config.json lacks {error}", hint="Copy the checkpoint folder again"
            ) from error

    @classmethod
    def _of(cls, config: Mapping[str, Any], text: Mapping[str, Any]) -> ModelShape:
        rope: dict[str, Any] = text.get("rope_parameters") or {
            "rope_type": "default",
            "rope_theta": 10000.0,
        }
        layers = text.get("layer_types") or ["full_attention"]
        inject = tuple(config.get("inject_layers", ()))
        plain = (
            text["model_type"] in ("qwen3", "llama")
            and rope.get("rope_type", "default") == "default"
            and text.get("hidden_act", "silu") == "silu"
            and set(layers) == {"full_attention"}
            and not inject
        )
        width, num_heads = _size(text, "hidden_size"), _size(text, "num_attention_heads")
        return cls(
            architecture=text["model_type"],
            num_layers=_size(text, "num_hidden_layers"),
            num_heads=num_heads,
            num_kv_heads=text.get("num_key_value_heads") or num_heads,
            head_dim=text.get("head_dim") or width // num_heads,
            width=width,
            vocab_size=text["vocab_size"],
            num_added=config.get("num_added", 0),
            max_positions=_size(text, "max_position_embeddings"),
            norm_eps=text["rms_norm_eps"] if plain else 0.0,
            rope_theta=rope["rope_theta"] if plain else 0.0,
            plain=plain,
            tied=config["tie_word_embeddings"],
            inner=text["intermediate_size"] if plain else 0,
            bag_dim=config["bag_dim"],
            encoder=config["encoder"],
            geometry_dim=config["geometry_dim"],
            projector=config["projector"],
            pool=config["pool"],
            pool_heads=config["pool_heads"],
            pointer_dim=config["pointer_dim"],
            first_region_id=config["first_region_id"],
            num_region_ids=config["num_region_ids"],
            max_regions=config["max_regions"],
            depths=config.get("depths", 1),
            inject_layers=inject,
        )


_GPT2_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
}
"""How GPT-2 and its kin call sizes in config.json."""


def _size(text: Mapping[str, Any], name: str) -> int:
    other = _GPT2_NAMES[name]
    return int(text[other] if name not in text and other in text else text[name])
