"""The file of embeddings to rehearse that lies beside a checkpoint: it names no patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ruichat.model.checkpoint import MINI_DIR
from ruichat.storage.artifacts import read_checked, save_arrays

KIND = "replay"
SCHEMA_VERSION = 1
REPLAY_FILE = "replay.safetensors"
"""Beside a checkpoint's tile classifier."""


def numbered(source: Sequence[str], group: Sequence[str]) -> list[str]:
    """Source groups as running numbers, in the order in which they come.

    A group is a patient or a file name: whoever rehearses needs to know which tiles are of one
    group, never of whom.
    """
    known: dict[tuple[str, str], int] = {}
    return [str(known.setdefault(pair, len(known))) for pair in zip(source, group, strict=True)]


def rehearsed_with(checkpoint: Path) -> Path:
    """Where a checkpoint's file would be: in its folder, of the embedded model one above."""
    return (checkpoint.parent if checkpoint == MINI_DIR else checkpoint) / REPLAY_FILE


def copy_rehearsed(path: Path, target: Path) -> None:
    """Copy such a file; groups that were written by their names become numbers.

    Raises:
        ArtifactError: it is damaged, or can't be written.
    """
    artifact = read_checked(path, kind=KIND, schema_version=SCHEMA_VERSION)
    details = artifact.manifest.details
    group = numbered(details["source"], details["group"])
    manifest = artifact.manifest.model_copy(update={"details": details | {"group": group}})
    save_arrays(target, artifact.arrays, manifest)
