"""A checkpoint folder: config, weights, tokenizer, adapter, calibration, and what made them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ruichat.errors import ArtifactError, ConfigError, PrerequisiteError
from ruichat.model.base import BASE_FILE, BaseReference, Quantise
from ruichat.model.checkpoint_files import (
    ADAPTER_DIR,
    CONFIG_FILE,
    KIND,
    MANIFEST_FILE,
    SCHEMA_VERSION,
    THINKING_DIR,
    WEIGHTS_FILE,
    clear_folder,
    read_json,
    read_manifest,
)
from ruichat.model.native import NativeChatModel
from ruichat.model.openvino_graph import PREFIX
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.region_state import Array
from ruichat.model.shape import ModelShape
from ruichat.model.weights import check_weights, merge_adapter, read_weights
from ruichat.storage.artifacts import Manifest, content_digest, write_atomic

if TYPE_CHECKING:
    from ruichat.model.decoder import Decoder
    from ruichat.model.modeling import RuiChatForConditionalGeneration

Runtime = Literal["auto", "openvino", "torch"]

MINI_DIR = Path(__file__).parent.parent / "assets" / "mini" / "lm"
"""The embedded default."""


def load_mini(*, num_threads: int = 0) -> NativeChatModel:
    """The embedded default.

    Args:
        num_threads: as of `load_checkpoint`.

    Raises:
        PrerequisiteError: this installation lacks its weights.
        ArtifactError: they are damaged.
    """
    _need_mini()
    return load_checkpoint(MINI_DIR, num_threads=num_threads)


def check_mini() -> str:
    """One line on the embedded default, its files compared with their digests.

    Raises:
        PrerequisiteError: this installation lacks its weights.
        ArtifactError: they are damaged.
    """
    _need_mini()
    manifest = read_manifest(MINI_DIR)
    if (MINI_DIR / THINKING_DIR).is_dir():
        read_manifest(MINI_DIR / THINKING_DIR)
    size = sum(path.stat().st_size for path in MINI_DIR.rglob("*") if path.is_file())
    return f"{manifest.details['name']}, {size / 1e6:.0f} MB, reads {manifest.details['encoder']}"


def _need_mini() -> None:
    if not (MINI_DIR / MANIFEST_FILE).is_file():
        raise PrerequisiteError(
            f"the embedded model isn't installed: nothing in {MINI_DIR}",
            hint="Install ruichat from its wheel, or run: ruichat align mini",
        )


def load_checkpoint(
    folder: Path,
    runtime: Runtime = "auto",
    *,
    device: str | None = None,
    dtype: str | None = None,
    quantise: Quantise = "none",
    num_threads: int = 0,
) -> NativeChatModel:
    """Load a checkpoint for answering.

    Args:
        folder: written by `save_checkpoint`.
        runtime: "auto" takes OpenVINO where it can run the layers on the CPU, else torch.
        device: of torch, for example "cuda"; the CPU if missing, or a GPU that is there where
            OpenVINO can't run the layers.
        dtype: of the language model on torch, for example "bfloat16"; as it was saved if missing.
        quantise: "4bit" keeps a language model that the checkpoint refers to in 4 bits, on torch.
        num_threads: of OpenVINO; its own choice if 0.

    Raises:
        ArtifactError: something is missing, damaged or doesn't fit together.
        ConfigError: the runtime can't run this model.
        PrerequisiteError: the language model that the checkpoint refers to isn't there.
    """
    manifest = read_manifest(folder)
    shape = ModelShape.of(read_json(folder / CONFIG_FILE))
    asked = device not in (None, "cpu") or dtype not in (None, "float32") or quantise != "none"
    if _runtime(runtime, shape, asked) == "openvino":
        from ruichat.model.openvino_step import OpenVinoDecoder

        weights = _merged_weights(folder)
        check_weights(weights, shape)
        decoder: Decoder[Any] = OpenVinoDecoder(weights, shape, num_threads)
    else:
        from ruichat.model.network import load_network, region_weights
        from ruichat.model.torch_step import TorchDecoder

        network = load_network(
            folder, device=device or _device(shape), dtype=dtype, quantise=quantise
        )
        weights, decoder = region_weights(network), TorchDecoder(network)
    model = NativeChatModel(
        name=manifest.details["name"],
        shape=shape,
        weights=weights,
        processor=RuiChatProcessor.from_pretrained(folder),
        decoder=decoder,
        encoder=manifest.details["encoder"],
        encoder_digest=manifest.made_from.get("encoder", ""),
        folder=folder,
    )
    if not (folder / THINKING_DIR).is_dir():
        return model
    how = {"device": device, "dtype": dtype, "quantise": quantise, "num_threads": num_threads}
    thinker = _load_thinker(model, folder / THINKING_DIR, runtime=runtime, **how)
    return replace(model, thinker=thinker)


def _merged_weights(folder: Path) -> dict[str, Array]:
    """All weights in float32, those of a language model elsewhere and the adapter's included."""
    weights = read_weights(folder / WEIGHTS_FILE)
    if (folder / BASE_FILE).is_file():
        base = BaseReference.read(folder)
        for path in sorted(base.find(folder).glob("*.safetensors")):
            for name, value in read_weights(path).items():
                weights[re.sub(r"^model\.", PREFIX, name)] = value
        if read_json(folder / CONFIG_FILE)["tie_word_embeddings"]:
            weights.pop("lm_head.weight", None)
    if (folder / ADAPTER_DIR).is_dir():
        merge_adapter(weights, folder / ADAPTER_DIR)
    return weights


def _device(shape: ModelShape) -> str:
    """Where torch runs unless told: a small plain model on the CPU, others on a GPU if there."""
    import torch

    return "cuda" if not shape.plain and torch.cuda.is_available() else "cpu"


def _runtime(runtime: Runtime, shape: ModelShape, asked_torch: bool) -> Runtime:
    if runtime == "openvino" and not shape.plain:
        raise ConfigError(
            f"OpenVINO can't run a {shape.architecture} of this form here; it runs qwen3 and llama "
            "with full attention",
            hint="Use runtime torch",
        )
    if runtime != "auto":
        return runtime
    there = importlib.util.find_spec("openvino") is not None
    return "openvino" if shape.plain and there and not asked_torch else "torch"


def _load_thinker(first: NativeChatModel, folder: Path, **how: Any) -> NativeChatModel:
    """The same model with the weights that it thinks with.

    Raises:
        ArtifactError: damaged, or it doesn't read what the first reads.
    """
    thinker = load_checkpoint(folder, **how)
    reads = [(it.encoder, it.encoder_digest, it.max_regions) for it in (first, thinker)]
    if reads[0] != reads[1]:
        raise ArtifactError(
            f"{folder} reads {reads[1]}; the model beside it reads {reads[0]}",
            hint="Copy the checkpoint folder again",
        )
    return thinker


def save_checkpoint(
    folder: Path,
    model: RuiChatForConditionalGeneration | Any,
    processor: RuiChatProcessor,
    *,
    name: str,
    encoder_digest: str,
    half: bool = False,
    base: Literal["copy", "reference"] | None = None,
    made_from: Mapping[str, str] | None = None,
    config_fingerprint: str = "",
    details: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint folder; the manifest comes last and names the digest of every file.

    Args:
        folder: made where missing; files of the same names are replaced, and an adapter, a
            tokenizer or a calibration of other weights that lies there is removed.
        model: the model, or a PEFT model around it, whose adapter then gets its own folder.
        processor: its tokenizer.
        name: recorded with every answer.
        encoder_digest: of the encoder whose bags it was trained on.
        half: keep float32 weights as float16, half the size; computing stays float32.
        base: keep the language model's weights in the folder ("copy"), or the name and digests of
            the published language model that they are ("reference"); a reference if missing and
            the model was built around one.
        made_from: further digests by role.
        config_fingerprint: of the recipe.
        details: further plain values for the manifest.

    Raises:
        ArtifactError: the folder can't be written.
        ModelError: a reference is asked for, but the language model isn't a published one any
            more, or a copy of one that is held in 4 bits.
    """
    import torch
    from safetensors.torch import save

    from ruichat.model.adapter import split_adapter

    parts, adapter = split_adapter(model, base)
    weights = parts.weights
    if half:
        weights = {k: v.half() if v.dtype == torch.float32 else v for k, v in weights.items()}
    # A tokenizer may lie in this very folder.
    spelling = processor.files()
    clear_folder(folder)
    written = {
        CONFIG_FILE: _without_places(parts.config.to_json_string(use_diff=False)),
        WEIGHTS_FILE: save(weights, metadata={"format": "pt"}),
        **spelling,
    }
    if parts.reference is not None:
        written[BASE_FILE] = parts.reference.to_bytes()
    if adapter is not None:
        written |= {f"{ADAPTER_DIR}/{file}": data for file, data in adapter.files.items()}
    for file, data in written.items():
        write_atomic(folder / file, data)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        kind=KIND,
        made_from={**(made_from or {}), "encoder": encoder_digest},
        config_fingerprint=config_fingerprint,
        details={
            **(details or {}),
            "name": name,
            "encoder": parts.config.encoder,
            "dtype": parts.dtype,
            "files": {file: hashlib.sha256(data).hexdigest() for file, data in written.items()},
        },
    )
    manifest = manifest.model_copy(update={"sha256": content_digest({}, manifest)})
    write_atomic(folder / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode())
    return folder


def _without_places(config: str) -> bytes:
    """A config without the folders of this machine that its parts were loaded from."""
    values = json.loads(config)
    for part in (values, *(part for part in values.values() if isinstance(part, dict))):
        if "_name_or_path" in part:
            part["_name_or_path"] = ""
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()
