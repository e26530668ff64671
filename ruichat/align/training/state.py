"""States of a run on disk: whole or not there, checked when read, the last few kept."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor, nn

from ruichat.align.training.placing import like, whole
from ruichat.align.training.settings import Log
from ruichat.errors import ArtifactError, ConfigError
from ruichat.storage.artifacts import (
    Manifest,
    check_kind,
    damaged,
    parse_manifest,
    sweep,
    write_atomic,
)

KIND = "training-state"
SCHEMA_VERSION = 1

_STATE, _MANIFEST = "state.pt", "manifest.json"
_FOLDER = re.compile(r"step-([0-9]{8})")


@dataclass(frozen=True)
class Kept:
    """A state as read.

    Attributes:
        step: steps done.
        content: what was given to `StateFolder.write`.
    """

    step: int
    content: dict[str, Any]


class StateFolder:
    """The states of one run.

    Args:
        path: of the folder.
        digest: of the settings that decide the run's numbers.
        keep: how many states stay.
    """

    def __init__(self, path: Path, digest: str, keep: int) -> None:
        self.path = path
        self._digest, self._keep = digest, keep

    def steps(self) -> list[int]:
        """Steps of which there is a state, newest first."""
        found = (_FOLDER.fullmatch(one.name) for one in self.path.glob("step-*"))
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def clear(self, step: int) -> None:
        """Make room for a state that others write to first; what was there counts no more."""
        (self.of(step) / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self.of(step), ignore_errors=True)

    def write(self, step: int, content: dict[str, Any]) -> None:
        """Keep a state, with what others put into its folder; it counts once its manifest is there.

        Raises:
            ArtifactError: the disk is full or the folder can't be written.
        """
        folder = self.of(step)
        digest = hashlib.sha256()
        (folder / _MANIFEST).unlink(missing_ok=True)
        sweep(folder / _STATE)

        def save(file: BinaryIO) -> None:
            torch.save(content, cast(Any, _Digesting(file, digest)))

        write_atomic(folder / _STATE, save)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            kind=KIND,
            config_fingerprint=self._digest,
            details={"step": step, **_others(folder)},
            sha256=digest.hexdigest(),
        )
        write_atomic(folder / _MANIFEST, (manifest.to_json() + "\n").encode())
        for old in self.steps()[self._keep :]:
            shutil.rmtree(self.of(old), ignore_errors=True)

    def newest(self, warn: Log) -> Kept | None:
        """The newest state that is whole; None if none was ever finished.

        Args:
            warn: told of those that aren't whole.

        Raises:
            ConfigError: the run there was begun with other settings.
            ArtifactError: states are there, and none can be read.
        """
        wrong: ArtifactError | None = None
        for step in self.steps():
            if not (self.of(step) / _MANIFEST).is_file():
                continue
            try:
                return self.read(step)
            except ArtifactError as error:
                wrong = error
                warn(f"{error.message}; the state before it is taken")
        if wrong is not None:
            raise wrong
        return None

    def read(self, step: int) -> Kept:
        """The state of a step.

        Raises:
            ConfigError: the run was begun with other settings.
            ArtifactError: it is damaged, or of another schema.
        """
        folder = self.of(step)
        try:
            manifest = parse_manifest(folder / _MANIFEST, (folder / _MANIFEST).read_bytes())
            check_kind(folder, manifest, kind=KIND, schema_version=SCHEMA_VERSION)
            if manifest.config_fingerprint != self._digest:
                raise ConfigError(
                    f"{self.path} holds a run with other settings",
                    hint="Give another folder with --out, or the settings it was begun with",
                )
            with (folder / _STATE).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise damaged(folder, str(error.strerror)) from error
        if digest != manifest.sha256 or _others(folder) != _named(manifest):
            raise damaged(folder, "its digest doesn't match its content")
        return Kept(step, torch.load(folder / _STATE, map_location="cpu", weights_only=True))

    def of(self, step: int) -> Path:
        """Folder of a step's state."""
        return self.path / f"step-{step:08d}"


def newest_tensors(path: Path) -> dict[str, Tensor]:
    """What the newest state of a run holds of its module, in the run's own time."""
    newest = max(path.glob("step-*"))
    return torch.load(newest / _STATE, map_location="cpu", weights_only=True)["model"]


def _others(folder: Path) -> dict[str, dict[str, str]]:
    """Digests of what lies in folders of a state, as DeepSpeed keeps its own; none without any."""
    files = sorted(path for path in folder.glob("*/**/*") if path.is_file())
    digests: dict[str, str] = {}
    for path in files:
        with path.open("rb") as file:
            name = path.relative_to(folder).as_posix()
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return {"files": digests} if digests else {}


def _named(manifest: Manifest) -> dict[str, dict[str, str]]:
    return {key: value for key, value in manifest.details.items() if key == "files"}


class _Digesting:
    """A file that is digested while it is written."""

    def __init__(self, file: BinaryIO, digest: Any) -> None:
        self._file, self._digest = file, digest

    def write(self, block: Any) -> int:
        self._digest.update(block)
        return self._file.write(block)

    def flush(self) -> None:
        self._file.flush()


def trained_tensors(trained: nn.Module) -> dict[str, Tensor]:
    """What a state holds of a module: what asks for a gradient, and buffers beside it."""
    kept: dict[str, Tensor] = {n: p for n, p in trained.named_parameters() if p.requires_grad}
    lasting = trained.state_dict().keys()
    for path, module in trained.named_modules():
        if any(p.requires_grad for p in module.parameters()):
            own = module.named_buffers(path, recurse=False)
            kept |= {name: buffer for name, buffer in own if name in lasting}
    return kept


def load_trained(trained: nn.Module, found: dict[str, Tensor]) -> None:
    """Put tensors of a state back where they came from.

    Raises:
        ArtifactError: the module trains something else.
    """
    own = trained_tensors(trained)
    other = sorted(
        name
        for name in own.keys() | found.keys()
        if name not in own or name not in found or own[name].shape != found[name].shape
    )
    if other:
        raise ArtifactError(
            f"the state is of another model: {', '.join(other[:3])}"
            f"{f' and {len(other) - 3} more' if len(other) > 3 else ''}",
            hint="Give another folder with --out",
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(like(found[name], value))


def whole_state(state: dict[Any, Any]) -> dict[Any, Any]:
    """A nested state with its tensors gathered on the CPU."""
    return {key: _mapped(value) for key, value in state.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put a whole state back into an optimiser, divided as its parameters are."""
    parameters: Sequence[Tensor] = [p for group in optimiser.param_groups for p in group["params"]]
    placed = {
        number: {
            key: like(value, parameters[number])
            if isinstance(value, Tensor) and value.shape == parameters[number].shape and value.ndim
            else value
            for key, value in of_parameter.items()
        }
        for number, of_parameter in state["state"].items()
    }
    optimiser.load_state_dict({**state, "state": placed})


def _mapped(value: Any) -> Any:
    if isinstance(value, dict):
        return whole_state(cast(dict[Any, Any], value))
    if isinstance(value, list):
        return [_mapped(one) for one in cast(list[Any], value)]
    return whole(value)
