"""Published names of a vision transformer's weights, onto those of transformers' classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ruichat.features.encoders.vit import Body

State = dict[str, Tensor]

Positions = Literal["all", "cls", "patches"]
"""What timm's `pos_embed` is for: CLS, registers and patches; CLS and patches; patches alone."""


@dataclass(frozen=True)
class _Names:
    """How one of transformers' classes calls what timm's blocks call otherwise."""

    layer: str
    norms: tuple[str, str]
    final_norm: str
    patches: str
    gelu: tuple[str, str] = ("mlp.fc1", "mlp.fc2")


_NAMES: dict[Body, _Names] = {
    "vit": _Names(
        layer="layers",
        norms=("layernorm_before", "layernorm_after"),
        final_norm="layernorm",
        patches="embeddings.patch_embeddings.projection",
    ),
    "dinov2": _Names(
        layer="encoder.layer",
        norms=("norm1", "norm2"),
        final_norm="layernorm",
        patches="embeddings.patch_embeddings.projection",
    ),
    "dinov3": _Names(
        layer="model.layer",
        norms=("norm1", "norm2"),
        final_norm="norm",
        patches="embeddings.patch_embeddings",
        gelu=("mlp.up_proj", "mlp.down_proj"),
    ),
}


def rename_timm(
    content: Mapping[str, Any],
    *,
    body: Body,
    positions: Positions = "all",
    gated: bool = False,
) -> State:
    """State dict of timm's `VisionTransformer` as that of `vit.build`.

    Names that timm doesn't have stay as they are, so that placing finds them left over.

    Args:
        content: of the weights file, flat or under `state_dict`.
        body: which of transformers' classes it is for.
        positions: what `pos_embed` covers (timm: "patches" with `no_embed_class`).
        gated: the MLP is `SwiGLUPacked`: `fc1` holds the gate, then the values.

    Source:
        timm 1.0 `vision_transformer.py` and `layers/mlp.py` (GluMlp with gate_last=False).
    """
    names = _NAMES[body]
    state: State = {}
    for key, value in unwrap(content).items():
        match = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias|gamma)", key)
        if match is None:
            state[_outside(key, names)] = value
            continue
        layer = f"body.{names.layer}.{match[1]}"
        for name, part in _in_block(match[2], match[3], value, names, gated):
            state[f"{layer}.{name}"] = part
    _spread_positions(state, positions)
    if body == "dinov2":
        _fill_mask_token(state)
        state = spell_installed(state)
    return state


def unwrap(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arrays by name, which some files keep under `state_dict`."""
    inner = content.get("state_dict")
    return inner if isinstance(inner, Mapping) else content


def _outside(key: str, names: _Names) -> str:
    """Name of what isn't in a block; a name that timm doesn't have stays."""
    whole = {
        "cls_token": "embeddings.cls_token",
        "reg_token": "embeddings.register_tokens",
        "pos_embed": "embeddings.position_embeddings",
    }
    for suffix in ("weight", "bias"):
        whole[f"patch_embed.proj.{suffix}"] = f"{names.patches}.{suffix}"
        whole[f"norm.{suffix}"] = f"{names.final_norm}.{suffix}"
    return f"body.{whole[key]}" if key in whole else key


def _in_block(
    name: str, kind: str, value: Tensor, names: _Names, gated: bool
) -> Iterator[tuple[str, Tensor]]:
    """One array of a block as those of transformers' layer."""
    plain = {
        "norm1": names.norms[0],
        "norm2": names.norms[1],
        "attn.proj": "attention.o_proj",
        "mlp.fc1": names.gelu[0],
        "mlp.fc2": "mlp.down_proj" if gated else names.gelu[1],
    }
    if name == "attn.qkv":
        for part, piece in zip("qkv", value.chunk(3), strict=True):
            yield f"attention.{part}_proj.{kind}", piece
    elif name == "mlp.fc1" and gated:
        gate, up = value.chunk(2)
        yield f"mlp.gate_proj.{kind}", gate
        yield f"mlp.up_proj.{kind}", up
    elif kind == "gamma":
        yield f"{name.replace('ls', 'layer_scale')}.lambda1", value
    else:
        yield f"{plain.get(name, name)}.{kind}", value


def _spread_positions(state: State, positions: Positions) -> None:
    """Position embeddings as transformers adds them: to CLS and patches, registers untouched."""
    at, registers = "body.embeddings.position_embeddings", "body.embeddings.register_tokens"
    if at not in state:
        return
    whole = state[at]
    if positions == "patches":
        state[at] = torch.cat([torch.zeros_like(whole[:, :1]), whole], dim=1)
    elif positions == "all" and registers in state:
        num = state[registers].shape[1]
        state[registers] = state[registers] + whole[:, 1 : 1 + num]
        state[at] = torch.cat([whole[:, :1], whole[:, 1 + num :]], dim=1)


def _fill_mask_token(state: State) -> None:
    """Transformers' class with registers has a token for masked patches; no tile has any."""
    registers = state.get("body.embeddings.register_tokens")
    if registers is not None:
        state["body.embeddings.mask_token"] = torch.zeros_like(registers[:, 0])


def spell_installed(state: State) -> State:
    """State dict of a Dinov2 body in the spelling of the installed transformers.

    Releases before 5.20 called the same arrays otherwise, and kept SwiGLU's gate and values in
    one.
    """
    from transformers.models.dinov2 import modeling_dinov2

    if not hasattr(modeling_dinov2, "Dinov2SelfAttention"):
        return state
    spelled: State = {}
    older = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
    for name, value in state.items():
        if ".mlp.gate_proj." in name:
            up = state[name.replace("gate_proj", "up_proj")]
            spelled[name.replace("gate_proj", "weights_in")] = torch.cat([value, up])
        elif ".mlp.up_proj." not in name:
            name = re.sub(
                r"attention\.([qkv]_proj)", lambda m: f"attention.attention.{older[m[1]]}", name
            )
            name = name.replace("attention.o_proj", "attention.output.dense")
            spelled[name.replace("mlp.down_proj", "mlp.weights_out")] = value
    return spelled
