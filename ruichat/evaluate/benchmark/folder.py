"""A run's folder: what the run is, held by one process at a time, and refused to any other run."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruichat.errors import ArtifactError, ConfigError
from ruichat.storage.artifacts import write_atomic
from ruichat.storage.locks import locked

FILE = "manifest.json"
SCHEMA = "ruichat.benchmark/1"

ROOT = "root"
"""Where the config lay; a run that is moved is the same."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run lies.

    Attributes:
        path: the folder.
        manifest: all that its answers hang on.
    """

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """The folder of a run.

        Raises:
            ArtifactError: it is none, or of another version.
        """
        try:
            manifest = json.loads((path / FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ArtifactError(
                f"{path} is not a benchmark run: it has no {FILE}",
                hint="Give a folder that ruichat evaluate benchmark wrote",
            ) from None
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path / FILE} can't be read: {error}") from error
        schema = manifest.get("schema") if isinstance(manifest, dict) else None
        if schema != SCHEMA:
            raise ArtifactError(
                f"{path / FILE} is of {schema!r}; this version reads {SCHEMA!r}",
                hint="Run the benchmark again into another folder",
            )
        return cls(path, manifest)


@contextmanager
def open_folder(path: Path, manifest: Mapping[str, Any]) -> Generator[RunFolder]:
    """Begin a run, or go on with the same one.

    Raises:
        ConfigError: the folder holds a run of other settings, data or model, and what differs; or
            another process is at it.
        ArtifactError: it can't be written, or holds a run of another version.
    """
    whole = {"schema": SCHEMA, **manifest}
    with locked(path / "run.lock", wait=False) as held:
        if not held:
            raise ConfigError(f"another process is at {path}", hint="Wait for it, or give --out")
        if (path / FILE).is_file():
            there = RunFolder.read(path).manifest
            differing = [name for name in differences(there, whole) if name != ROOT]
            if differing:
                raise ConfigError(
                    f"{path} holds a run with other {', '.join(differing)}",
                    hint="Give another folder with --out, or delete this one",
                )
        else:
            text = json.dumps(whole, ensure_ascii=False, indent=1)
            write_atomic(path / FILE, (text + "\n").encode())
        yield RunFolder(path, whole)


def differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    """Names of what differs between two manifests, with dots where it lies deeper."""
    names: list[str] = []
    for name in dict.fromkeys((*one, *two)):
        a, b = one.get(name), two.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            names += [f"{name}.{inner}" for inner in differences(a, b)]
        elif a != b:
            names.append(name)
    return names
