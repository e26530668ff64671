"""What lies in a checkpoint folder, and that it is what the manifest says."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ruichat.errors import ArtifactError
from ruichat.model.base import BASE_FILE
from ruichat.model.weights import ADAPTER_FILE
from ruichat.storage.artifacts import Manifest, content_digest

KIND = "checkpoint"
SCHEMA_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
MANIFEST_FILE = "manifest.json"
CALIBRATION_FILES = ("calibration.json", "calibration-thinking.json")
ADAPTER_DIR = "adapter"
PROCESSOR_FILES = ("processor.json", "tokenizer.json", "tokenizer.model")
"""Of the tokenizers that a checkpoint may have; which of them are there tells which it is."""
THINKING_DIR = "thinking"
"""A checkpoint in the checkpoint: the same model with the weights that it thinks with."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint whose files are those it names.

    Raises:
        ArtifactError: no checkpoint, of another schema, or a file is missing or changed.
    """
    raw = read_json(folder / MANIFEST_FILE)
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
    if (folder / BASE_FILE).is_file() != (BASE_FILE in files):
        raise _changed(folder / BASE_FILE)
    for file, digest in files.items():
        try:
            with (folder / file).open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise ArtifactError(
                f"{folder / file} can't be read ({error.strerror})",
                hint="Copy the checkpoint folder again",
            ) from error
        if found != digest:
            raise _changed(folder / file)
    return manifest


def _changed(path: Path) -> ArtifactError:
    return ArtifactError(
        f"{path} isn't what {MANIFEST_FILE} says it is", hint="Copy the checkpoint folder again"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Settings from a file of a checkpoint folder.

    Raises:
        ArtifactError: it is missing or holds something else.
    """
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


def clear_folder(folder: Path) -> None:
    """Remove what would otherwise be taken for part of the new checkpoint."""
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    for name in (*CALIBRATION_FILES, BASE_FILE, *PROCESSOR_FILES):
        (folder / name).unlink(missing_ok=True)
    for name in (ADAPTER_DIR, THINKING_DIR):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
