"""Published names of a vision transformer's arrays, onto those of transformers' classes.

Names that a published form doesn't have stay as they are: placing then finds them left over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ruichat.features.encoders.vit import Body, Mlp

State = dict[str, Tensor]

Positions = Literal["all", "cls", "patches"]
"""What `pos_embed` is for: CLS, registers and patches; CLS and patches; patches alone."""

POSITIONS = "body.embeddings.position_embeddings"
REGISTERS = "body.embeddings.register_tokens"


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
    mlp: Mlp = "gelu",
    positions: Positions = "all",
    grid: int = 0,
) -> State:
    """State dict of timm's `VisionTransformer` as that of `vit.build`.

    Args:
        content: of the weights file, flat or under `state_dict`.
        body: which of transformers' classes it is for.
        mlp: "swiglu" is timm's `SwiGLUPacked`: `fc1` holds the gate, then the values.
        positions: what `pos_embed` covers (timm: "patches" with `no_embed_class`).
        grid: patches along a side of the card's input, where `pos_embed` may be for another;
            0 keeps it.

    Source:
        timm 1.0 `vision_transformer.py`, `layers/mlp.py` (GluMlp with gate_last=False),
        `layers/pos_embed.py` (bicubic, antialiased).
    """
    names = _NAMES[body]
    state: State = {}
    for key, value in unwrap(content, "state_dict").items():
        match = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias|gamma)", key)
        if match is None:
            state[_outside(key, names)] = value
            continue
        layer = f"body.{names.layer}.{match[1]}"
        for name, part in _in_block(match[2], match[3], value, names, mlp):
            state[f"{layer}.{name}"] = part
    _spread_positions(state, positions)
    return finish(state, body, grid=grid, antialias=True)


def unwrap(content: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The arrays by name, which some files keep under one of these keys."""
    for key in keys:
        if isinstance(content.get(key), Mapping):
            return content[key]
    return content


def finish(state: State, body: Body, *, grid: int, antialias: bool) -> State:
    """Positions for the wanted grid; what transformers has beyond the published form; spelling."""
    if grid and POSITIONS in state:
        state[POSITIONS] = fit_grid(state[POSITIONS], grid, antialias=antialias)
    if body != "dinov2":
        return state
    if REGISTERS in state:
        # The class with registers has a token for masked patches; no tile has any.
        state["body.embeddings.mask_token"] = torch.zeros_like(state[REGISTERS][:, 0])
    return spell_installed(state)


def fit_grid(positions: Tensor, grid: int, *, antialias: bool) -> Tensor:
    """Position embeddings [1,1+n*n,e] for a grid of `grid` x `grid` patches.

    Both libraries do this at each call for inputs of another size than the training's; here
    the card states the input, so once is enough.
    """
    first, patches = positions[:, :1], positions[:, 1:]
    side = round(patches.shape[1] ** 0.5)
    if side == grid or side * side != patches.shape[1]:
        return positions
    image = patches.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(image, (grid, grid), mode="bicubic", antialias=antialias)
    return torch.cat([first.float(), resized.flatten(2).transpose(1, 2)], dim=1)


def _outside(key: str, names: _Names) -> str:
    """Name of what isn't in a block."""
    whole = {
        "cls_token": "embeddings.cls_token",
        "reg_token": "embeddings.register_tokens",
        "mask_token": "embeddings.mask_token",
        "pos_embed": "embeddings.position_embeddings",
    }
    for suffix in ("weight", "bias"):
        whole[f"patch_embed.proj.{suffix}"] = f"{names.patches}.{suffix}"
        whole[f"norm.{suffix}"] = f"{names.final_norm}.{suffix}"
    return f"body.{whole[key]}" if key in whole else key


def _in_block(
    name: str, kind: str, value: Tensor, names: _Names, mlp: Mlp
) -> Iterator[tuple[str, Tensor]]:
    """One array of a block as those of transformers' layer."""
    swiglu = mlp == "swiglu"
    plain = {
        "norm1": names.norms[0],
        "norm2": names.norms[1],
        "attn.proj": "attention.o_proj",
        "mlp.fc1": names.gelu[0],
        "mlp.fc2": "mlp.down_proj" if swiglu else names.gelu[1],
    }
    if name == "attn.qkv":
        for part, piece in zip("qkv", value.tensor_split(3), strict=True):
            yield f"attention.{part}_proj.{kind}", piece
    elif name == "mlp.fc1" and swiglu:
        gate, up = value.tensor_split(2)
        yield f"mlp.gate_proj.{kind}", gate
        yield f"mlp.up_proj.{kind}", up
    elif kind == "gamma":
        yield f"{name.replace('ls', 'layer_scale')}.lambda1", value
    else:
        yield f"{plain.get(name, name)}.{kind}", value


def _spread_positions(state: State, positions: Positions) -> None:
    """Position embeddings as transformers adds them: to CLS and patches, registers untouched."""
    if POSITIONS not in state:
        return
    whole = state[POSITIONS]
    if positions == "patches":
        state[POSITIONS] = torch.cat([torch.zeros_like(whole[:, :1]), whole], dim=1)
    elif positions == "all" and REGISTERS in state:
        num = state[REGISTERS].shape[1]
        state[REGISTERS] = state[REGISTERS] + whole[:, 1 : 1 + num]
        state[POSITIONS] = torch.cat([whole[:, :1], whole[:, 1 + num :]], dim=1)


def spell_installed(state: State) -> State:
    """State dict of a Dinov2 body in the spelling of the installed transformers.

    Older releases of transformers 5 called the same arrays otherwise, and kept SwiGLU's gate and
    values in one.
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
