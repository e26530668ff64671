"""Names in the checkpoints of DINOv2 and DINOv3 training, and in transformers' own files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ruichat.errors import ModelError
from ruichat.features.encoders.vit import Body, Mlp
from ruichat.features.encoders.vit_names import Positions, State, finish, rename_timm, unwrap

_TRAINING_ONLY = re.compile(
    r"(dino_head|ibot_head)\..*|mask_token|rope_embed\.periods|local_cls_norm\.(weight|bias)"
)
"""In a teacher's checkpoint, but not of its embedding; the periods follow from the config."""

_TRANSFORMERS = (
    (r"attention\.attention\.(query|key|value)\.", r"attention.\1_proj."),
    (r"(query|key|value)_proj", lambda m: f"{m[1][0]}_proj"),
    (r"attention\.output\.dense", "attention.o_proj"),
    (r"mlp\.weights_out", "mlp.down_proj"),
)
"""What older releases of transformers, whose files these are, called otherwise."""


def rename_teacher(content: Mapping[str, Any], *, body: Body, grid: int = 0) -> State:
    """A teacher of DINOv2's or DINOv3's training as the state dict of `vit.build`.

    Args:
        content: `{"teacher": {"backbone.*": ...}}`, or the backbone alone.
        body: "dinov2" or "dinov3".
        grid: as in `rename_timm`.

    Source:
        facebookresearch/dinov2 and dinov3, `models/vision_transformer.py`; with `block_chunks`
        a block is called `blocks.CHUNK.INDEX`.
    """
    arrays = unwrap(content, "teacher", "state_dict")
    renamed: dict[str, Tensor] = {}
    for key, value in arrays.items():
        name = key.removeprefix("backbone.")
        name = re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name)
        name = re.sub(r"^(storage_tokens|register_tokens)$", "reg_token", name)
        if name == "mask_token" and body == "dinov3":
            renamed[name] = value[:, None]
        elif _TRAINING_ONLY.fullmatch(name) is None:
            renamed[name] = value
    return rename_timm(renamed, body=body, positions="cls", grid=grid)


def rename_teacher_or_timm(
    content: Mapping[str, Any], *, body: Body, positions: Positions, grid: int = 0
) -> State:
    """A teacher's backbone, as its authors published it, or its conversion to timm's names.

    Args:
        content: of either file.
        body: as in `rename_timm`.
        positions: of timm's form; a teacher's are for CLS and patches.
        grid: as in `rename_timm`.
    """
    if "register_tokens" in content:
        return rename_teacher(content, body=body, grid=grid)
    return rename_timm(content, body=body, positions=positions, grid=grid)


def rename_transformers(
    content: Mapping[str, Any], *, body: Body, mlp: Mlp = "gelu", grid: int = 0
) -> State:
    """A file that transformers wrote, of whatever release, as the state dict of `vit.build`.

    Args:
        content: of the weights file.
        body: which of transformers' classes wrote it.
        mlp: "swiglu" was `weights_in`: the gate, then the values.
        grid: as in `rename_timm`.
    """
    state: State = {}
    for key, value in content.items():
        if (key == "embeddings.mask_token" and body != "dinov3") or key.startswith("pooler."):
            continue
        name = _present(key, body)
        if ".mlp.weights_in." in name and mlp == "swiglu":
            gate, up = value.tensor_split(2)
            state[f"body.{name.replace('weights_in', 'gate_proj')}"] = gate
            state[f"body.{name.replace('weights_in', 'up_proj')}"] = up
        else:
            state[f"body.{name}"] = value
    # Of the two classes, only the one with registers smooths before it samples.
    antialias = "body.embeddings.register_tokens" in state
    return finish(state, body, grid=grid, antialias=antialias)


def _present(key: str, body: Body) -> str:
    """One name as transformers spells it now."""
    for pattern, replacement in _TRANSFORMERS:
        key = re.sub(pattern, replacement, key)
    if body == "vit":
        key = re.sub(r"^encoder\.layer\.(\d+)\.", r"layers.\1.", key)
        key = re.sub(r"^(layers\.\d+\.)intermediate\.dense", r"\1mlp.fc1", key)
        key = re.sub(r"^(layers\.\d+\.)output\.dense", r"\1mlp.fc2", key)
    elif body == "dinov3":
        key = re.sub(r"^layer\.(\d+)\.", r"model.layer.\1.", key)
    return key


def rename_ruipath_v1(content: Mapping[str, Any]) -> State:
    """RuiPath V1.0: timm's names, flat or under `state_dict`.

    Raises:
        ModelError: it's the DINOv3 form.
    """
    arrays = unwrap(content, "state_dict")
    if "teacher" in content or "backbone.storage_tokens" in arrays:
        raise ModelError(
            "these are the weights of RuiPath's DINOv3 form, not of RuiPath V1.0",
            hint="Use encoder ruipath-dinov3",
        )
    return rename_timm(arrays, body="dinov2")


def rename_ruipath_dinov3(content: Mapping[str, Any]) -> State:
    """RuiPath's DINOv3 form: a teacher with its heads.

    Raises:
        ModelError: it's V1.0.
    """
    arrays = unwrap(content, "teacher", "state_dict")
    if "pos_embed" in arrays:
        raise ModelError(
            "these are the weights of RuiPath V1.0, not of RuiPath's DINOv3 form",
            hint="Use encoder ruipath-v1",
        )
    return rename_teacher(content, body="dinov3")
