"""A checkpoint folder: config, weights, tokenizer, adapter, calibration, and what made them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ValidationError

from ruichat.errors import ArtifactError, ConfigError, PrerequisiteError
from ruichat.model.native import NativeChatModel
from ruichat.model.processing import RuiChatProcessor
from ruichat.model.region_state import Array
from ruichat.model.shape import ModelShape
from ruichat.model.weights import ADAPTER_FILE, check_weights, merge_adapter, read_weights
from ruichat.storage.artifacts import Manifest, content_digest, write_atomic

if TYPE_CHECKING:
    from ruichat.model.decoder import Decoder
    from ruichat.model.modeling import RuiChatForConditionalGeneration

Runtime = Literal["auto", "openvino", "torch"]

MINI_DIR = Path(__file__).parent.parent / "assets" / "mini" / "lm"
"""The embedded default."""

KIND = "checkpoint"
SCHEMA_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
MANIFEST_FILE = "manifest.json"
CALIBRATION_FILES = ("calibration.json", "calibration-thinking.json")
ADAPTER_DIR = "adapter"


def load_mini() -> NativeChatModel:
    """The embedded default.

    Raises:
        PrerequisiteError: this installation lacks its weights.
        ArtifactError: they are damaged.
    """
    _need_mini()
    return load_checkpoint(MINI_DIR)


def check_mini() -> str:
    """One line on the embedded default, its files compared with their digests.

    Raises:
        PrerequisiteError: this installation lacks its weights.
        ArtifactError: they are damaged.
    """
    _need_mini()
    manifest = read_manifest(MINI_DIR)
    size = sum(path.stat().st_size for path in MINI_DIR.rglob("*") if path.is_file())
    return f"{manifest.details['name']}, {size / 1e6:.0f} MB, reads {manifest.details['encoder']}"


def _need_mini() -> None:
    if not (MINI_DIR / MANIFEST_FILE).is_file():
        raise PrerequisiteError(
            f"the embedded model isn't installed: nothing in {MINI_DIR}",
            hint="Install ruichat from its wheel, or run: ruichat align mini",
        )


def load_checkpoint(
    folder: Path, runtime: Runtime = "auto", *, device: str = "cpu", num_threads: int = 0
) -> NativeChatModel:
    """Load a checkpoint for answering.

    Args:
        folder: written by `save_checkpoint`.
        runtime: "auto" takes OpenVINO where it can run the layers on the CPU, else torch.
        device: of torch, for example "cuda".
        num_threads: of OpenVINO; its own choice if 0.

    Raises:
        ArtifactError: something is missing, damaged or doesn't fit together.
        ConfigError: the runtime can't run this model.
    """
    manifest = read_manifest(folder)
    config = _read_json(folder / CONFIG_FILE)
    shape = ModelShape.of(config)
    weights = read_weights(folder / WEIGHTS_FILE)
    if (folder / ADAPTER_DIR).is_dir():
        merge_adapter(weights, folder / ADAPTER_DIR)
    if _runtime(runtime, shape, device) == "openvino":
        from ruichat.model.openvino_step import OpenVinoDecoder

        check_weights(weights, shape)
        decoder: Decoder[Any] = OpenVinoDecoder(weights, shape, num_threads)
    else:
        decoder = _torch_decoder(config, weights, device)
    return NativeChatModel(
        name=manifest.details["name"],
        shape=shape,
        weights=weights,
        processor=RuiChatProcessor.from_pretrained(folder),
        decoder=decoder,
        encoder=manifest.details["encoder"],
        encoder_digest=manifest.made_from.get("encoder", ""),
        folder=folder,
    )


def _runtime(runtime: Runtime, shape: ModelShape, device: str) -> Runtime:
    if runtime == "openvino" and not shape.plain:
        raise ConfigError(
            f"OpenVINO can't run a {shape.architecture} of this form here; it runs qwen3 and llama "
            "with full attention",
            hint="Use runtime torch",
        )
    if runtime != "auto":
        return runtime
    usable = shape.plain and device == "cpu" and importlib.util.find_spec("openvino") is not None
    return "openvino" if usable else "torch"


def _torch_decoder(config: dict[str, Any], weights: dict[str, Array], device: str) -> Decoder[Any]:
    import torch

    from ruichat.model.configuration import RuiChatConfig
    from ruichat.model.modeling import RuiChatForConditionalGeneration
    from ruichat.model.torch_step import TorchDecoder

    model = RuiChatForConditionalGeneration(RuiChatConfig.from_dict(config))
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    if model.config.tie_word_embeddings:
        tensors["lm_head.weight"] = tensors["language_model.embed_tokens.weight"]
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ArtifactError(
            f"weights and config.json don't agree: {error}", hint="Copy the folder again"
        ) from error
    model.to(torch.device(device))  # type: ignore[arg-type]
    return TorchDecoder(model)


def save_checkpoint(
    folder: Path,
    model: RuiChatForConditionalGeneration | Any,
    processor: RuiChatProcessor,
    *,
    name: str,
    encoder_digest: str,
    half: bool = False,
    made_from: Mapping[str, str] | None = None,
    config_fingerprint: str = "",
    details: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint folder; the manifest comes last and names the digest of every file.

    Args:
        folder: made where missing; files of the same names are replaced, and an adapter or a
            calibration of other weights that lies there is removed.
        model: the model, or a PEFT model around it, whose adapter then gets its own folder.
        processor: its tokenizer.
        name: recorded with every answer.
        encoder_digest: of the encoder whose bags it was trained on.
        half: keep base weights as float16, half the size; computing stays float32.
        made_from: further digests by role.
        config_fingerprint: of the recipe.
        details: further plain values for the manifest.

    Raises:
        ArtifactError: the folder can't be written.
    """
    from safetensors.numpy import save

    from ruichat.model.adapter import split_adapter

    base, adapter = split_adapter(model)
    weights = {k: v.astype(np.float16) for k, v in base.weights.items()} if half else base.weights
    _clear(folder)
    written = {
        CONFIG_FILE: base.config.to_json_string(use_diff=False).encode(),
        WEIGHTS_FILE: save(weights, metadata={"format": "pt"}),
        **processor.files(),
    }
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
            "encoder": base.config.encoder,
            "files": {file: hashlib.sha256(data).hexdigest() for file, data in written.items()},
        },
    )
    manifest = manifest.model_copy(update={"sha256": content_digest({}, manifest)})
    write_atomic(folder / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode())
    return folder


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint whose files are those it names.

    Raises:
        ArtifactError: no checkpoint, of another schema, or a file is missing or changed.
    """
    raw = _read_json(folder / MANIFEST_FILE)
    try:
        manifest = Manifest.model_validate(raw)
        files: dict[str, str] = dict(manifest.details["files"])
        known = {manifest.details["name"], manifest.details["encoder"]}
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{folder / MANIFEST_FILE} lacks {error}", hint="Copy the checkpoint folder again"
        ) from error
    if manifest.kind != KIND or manifest.schema_version != SCHEMA_VERSION or not all(known):
        raise ArtifactError(
            f"{folder} holds {manifest.kind!r} schema {manifest.schema_version}; this version "
            f"reads {KIND!r} schema {SCHEMA_VERSION}",
            hint="Give a checkpoint of this version, or train it again",
        )
    if manifest.sha256 != content_digest({}, manifest):
        raise _changed(folder / MANIFEST_FILE)
    if (folder / ADAPTER_DIR).is_dir() != (f"{ADAPTER_DIR}/{ADAPTER_FILE}" in files):
        raise _changed(folder / ADAPTER_DIR)
    for file, digest in files.items():
        try:
            content = (folder / file).read_bytes()
        except OSError as error:
            raise ArtifactError(
                f"{folder / file} can't be read ({error.strerror})",
                hint="Copy the checkpoint folder again",
            ) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise _changed(folder / file)
    return manifest


def _changed(path: Path) -> ArtifactError:
    return ArtifactError(
        f"{path} isn't what {MANIFEST_FILE} says it is", hint="Copy the checkpoint folder again"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{path.parent} is not a checkpoint: it has no {path.name}",
            hint="Give a folder that ruichat align wrote",
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} can't be read: {error}", hint="Copy it again") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} holds no settings", hint="Copy it again")
    return content


def _clear(folder: Path) -> None:
    """Remove what would otherwise be taken for part of the new checkpoint."""
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    for name in CALIBRATION_FILES:
        (folder / name).unlink(missing_ok=True)
    if (folder / ADAPTER_DIR).is_dir():
        shutil.rmtree(folder / ADAPTER_DIR)
