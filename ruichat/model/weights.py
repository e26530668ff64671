"""A checkpoint's arrays: read from safetensors, adapter merged, names and shapes checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ruichat.errors import ArtifactError, ModelError
from ruichat.model.region_state import Array
from ruichat.model.shape import ModelShape

ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"

_ROOT = "base_model.model."
"""Where PEFT puts the model it wraps."""


def read_weights(path: Path) -> dict[str, Array]:
    """All arrays of a safetensors file as float32.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, deserialize

    try:
        return {name: _float32(view) for name, view in deserialize(path.read_bytes())}
    except FileNotFoundError:
        raise ArtifactError(f"no weights at {path}", hint="Copy the whole folder") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise ArtifactError(
            f"{path} is damaged: {error}", hint="Copy the checkpoint folder again"
        ) from error


def _float32(view: dict[str, Any]) -> Array:
    kind, data = view["dtype"], bytes(view["data"])
    array: NDArray[Any]
    if kind == "BF16":
        # bfloat16 is the upper half of a float32.
        array = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif kind in ("F32", "F16"):
        array = np.frombuffer(data, np.float32 if kind == "F32" else np.float16)
    else:
        raise ValueError(f"weights of type {kind}; allowed: F32, F16, BF16")
    return np.array(array, np.float32).reshape(view["shape"])


def merge_adapter(weights: dict[str, Array], folder: Path) -> None:
    """Add a LoRA adapter, as PEFT saves it, to weights in place.

    Raises:
        ArtifactError: a file is missing or damaged, or the adapter fits another model.
        ModelError: the adapter is neither LoRA nor DoRA.
    """
    config = _adapter_config(folder / ADAPTER_CONFIG)
    adapter = read_weights(folder / ADAPTER_FILE)
    for name, value in adapter.items():
        target = name.removeprefix(_ROOT)
        if target.endswith((".lora_B.weight", ".lora_magnitude_vector")):
            continue
        if target.endswith(".lora_A.weight"):
            module = target.removesuffix(".lora_A.weight")
            partner = f"{_ROOT}{module}.lora_B.weight"
            if partner not in adapter:
                raise ArtifactError(f"adapter lacks {partner}", hint="Copy the folder again")
            target, value = f"{module}.weight", _scale(config, module) * adapter[partner] @ value
            value = weights[target] + value if target in weights else value
            if config.get("use_dora"):
                # DoRA, Liu et al. 2024, arXiv:2402.09353: a direction and its length, per row.
                length = adapter[f"{_ROOT}{module}.lora_magnitude_vector"].reshape(-1)
                value = value * (length / np.linalg.norm(value, axis=1))[:, None]
        if target not in weights or weights[target].shape != value.shape:
            raise ArtifactError(
                f"adapter changes {target}, which this model doesn't have in that shape",
                hint="Load the adapter with the base it was trained on",
            )
        weights[target] = np.array(value, np.float32, order="C")


def _adapter_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} can't be read: {error}", hint="Copy the folder again"
        ) from error
    variants = ("fan_in_fan_out", "lora_bias", "alora_invocation_tokens")
    used = [key for key in variants if config.get(key)]
    if config.get("peft_type") != "LORA" or used:
        raise ModelError(
            f"adapter is {config.get('peft_type')} with {used}; only LoRA and DoRA are merged here",
            hint="Merge it with PEFT (merge_and_unload) and save the result",
        )
    return config


def _scale(config: dict[str, Any], module: str) -> np.float32:
    def own(field: str, default: float) -> float:
        patterns: dict[str, float] = config.get(f"{field}_pattern") or {}
        fits = (n for key, n in patterns.items() if module == key or module.endswith(f".{key}"))
        return next(fits, default)

    rank, alpha = own("rank", config["r"]), own("alpha", config["lora_alpha"])
    return np.float32(alpha / (rank**0.5 if config.get("use_rslora") else rank))


def check_weights(weights: dict[str, Array], shape: ModelShape) -> None:
    """Refuse anything missing, left over or of another shape.

    Raises:
        ArtifactError: naming what differs.
    """
    expected = _expected(shape)
    found = {name: value.shape for name, value in weights.items()}
    parts: list[str] = []
    if missing := sorted(expected.keys() - found.keys()):
        parts.append(f"missing: {_some(missing)}")
    if surplus := sorted(found.keys() - expected.keys()):
        parts.append(f"unknown: {_some(surplus)}")
    for name in sorted(expected.keys() & found.keys()):
        if expected[name] != found[name]:
            parts.append(f"{name} is {found[name]}, config.json says {expected[name]}")
            break
    if parts:
        raise ArtifactError(
            f"weights and config.json don't agree; {'; '.join(parts)}",
            hint="Copy the checkpoint folder again, or retrain",
        )


def join_pieces(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Weights with the rows of added pieces behind those of the language model's own words."""
    joined = dict(weights)
    for name, table in (
        ("embed", "language_model.embed_tokens.weight"),
        ("head", "lm_head.weight"),
    ):
        if (rows := joined.pop(f"pieces.{name}", None)) is not None:
            joined[table] = np.concatenate([joined[table], rows])
    return joined


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _expected(s: ModelShape) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "language_model.embed_tokens.weight": (s.vocab_size, s.width),
        "language_model.norm.weight": (s.width,),
        "pointer.query.weight": (s.pointer_dim, s.width),
        "pointer.key.weight": (s.pointer_dim, s.width),
        "pointer.scale": (),
        **_expected_regions(s),
    }
    if not s.tied:
        shapes["lm_head.weight"] = (s.vocab_size, s.width)
    if s.num_added:
        rows = ("embed",) if s.tied else ("embed", "head")
        shapes |= {f"pieces.{name}": (s.num_added, s.width) for name in rows}
    queries, keys = s.num_heads * s.head_dim, s.num_kv_heads * s.head_dim
    for layer in range(s.num_layers):
        at = f"language_model.layers.{layer}."
        shapes |= {
            f"{at}input_layernorm.weight": (s.width,),
            f"{at}post_attention_layernorm.weight": (s.width,),
            f"{at}self_attn.q_proj.weight": (queries, s.width),
            f"{at}self_attn.k_proj.weight": (keys, s.width),
            f"{at}self_attn.v_proj.weight": (keys, s.width),
            f"{at}self_attn.o_proj.weight": (s.width, queries),
            f"{at}mlp.gate_proj.weight": (s.inner, s.width),
            f"{at}mlp.up_proj.weight": (s.inner, s.width),
            f"{at}mlp.down_proj.weight": (s.width, s.inner),
        }
        if s.architecture == "qwen3":
            for kind in ("q", "k"):
                shapes[f"{at}self_attn.{kind}_norm.weight"] = (s.head_dim,)
    return shapes


def _expected_regions(s: ModelShape) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"region_encoder.scale": ()}

    def layer(name: str, *size: int, bias: bool = True) -> None:
        shapes[f"region_encoder.{name}.weight"] = size
        if bias:
            shapes[f"region_encoder.{name}.bias"] = size[:1]

    layer("tile_norm", s.bag_dim)
    layer("norm", s.width)
    layer("geometry.0", s.width, s.geometry_dim)
    layer("geometry.2", s.width, s.width)
    if s.projector == "linear":
        layer("projector", s.width, s.bag_dim)
    else:
        layer("projector.0", s.width, s.bag_dim)
        layer("projector.2", s.width, s.width)
    if s.pool == "attention":
        hidden = gate_width(s.bag_dim)
        layer("gate.content", hidden, s.bag_dim)
        layer("gate.switch", hidden, s.bag_dim)
        layer("gate.score", s.pool_heads, hidden, bias=False)
    return shapes


def gate_width(bag_dim: int) -> int:
    """Width of the pooling's gate; ours: a quarter of the embedding, at least 16."""
    return max(bag_dim // 4, 16)
