"""The published language model under a checkpoint: named, found and compared with its digests."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ruichat.errors import ArtifactError, PrerequisiteError

Quantise = Literal["none", "4bit"]
"""How a language model's linear layers are held: as they are, or as NF4 with bitsandbytes."""

BASE_FILE = "base.json"
BASE_DIR = "base"
"""Folder, or link to one, beside base.json in which the language model may lie."""

_WANTED = ("*.json", "*.safetensors", "*.jinja", "*.txt")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BaseReference:
    """Which language model a checkpoint was trained on.

    Attributes:
        name: of its repository on the hub, or its folder.
        revision: commit on the hub; "" of a folder.
        files: SHA-256 of its config and weights, by file name.
    """

    name: str
    revision: str
    files: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path, name: str, revision: str) -> BaseReference:
        """Of a language model in a folder; its weights are read once.

        Raises:
            ArtifactError: the folder holds no config or no weights in safetensors.
        """
        weights = sorted(folder.glob("*.safetensors"))
        if not weights or not (folder / "config.json").is_file():
            raise ArtifactError(
                f"{folder} holds no language model: config.json and *.safetensors are needed",
                hint="Save it with transformers (save_pretrained), or download it again",
            )
        return cls(name, revision, {p.name: _digest(p) for p in [folder / "config.json", *weights]})

    @classmethod
    def read(cls, checkpoint: Path) -> BaseReference:
        """Of a checkpoint folder; its base.json has been compared with the manifest."""
        content = json.loads((checkpoint / BASE_FILE).read_text(encoding="utf-8"))
        return cls(content["name"], content["revision"], content["files"])

    def to_bytes(self) -> bytes:
        """Content of base.json."""
        return json.dumps(asdict(self), indent=2).encode()

    def find(self, checkpoint: Path) -> Path:
        """The folder of the language model: beside the checkpoint, by name, or in the hub's cache.

        Raises:
            PrerequisiteError: it isn't on this machine.
            ArtifactError: what lies there is another model or revision.
        """
        for folder in (checkpoint / BASE_DIR, Path(self.name)):
            if folder.is_dir():
                self._check(folder)
                return folder
        hub = f"hf download {self.name} --revision {self.revision}" if self.revision else ""
        try:
            folder = find_folder(self.name, self.revision or None, local_only=True)
        except PrerequisiteError as error:
            raise PrerequisiteError(
                f"the language model {self.name!r} under {checkpoint} isn't on this machine",
                hint=(f"Run: {hub}; or link" if hub else "Link")
                + f" its folder to {checkpoint / BASE_DIR}",
            ) from error
        self._check(folder)
        return folder

    def _check(self, folder: Path) -> None:
        for name, digest in self.files.items():
            path = folder / name
            found = _digest(path) if path.is_file() else "missing"
            if found != digest:
                raise ArtifactError(
                    f"{path} is {found[:12]}; this checkpoint was trained on {self.name!r} with "
                    f"{digest[:12]}",
                    hint="Give that revision of the language model"
                    + (f": {self.revision}" if self.revision else ""),
                )


def find_folder(name: str, revision: str | None, *, local_only: bool) -> Path:
    """The folder of a language model: itself, or its snapshot from the hub.

    Args:
        name: folder, or repository on the hub.
        revision: branch, tag or commit on the hub.
        local_only: look in the cache alone.

    Raises:
        PrerequisiteError: no such folder, and the hub's snapshot can't be had.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            name, revision=revision, local_files_only=local_only, allow_patterns=list(_WANTED)
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise PrerequisiteError(
            f"no language model {name!r} (revision {revision or 'main'}): neither a folder nor "
            f"{'in the cache' if local_only else 'to be had from the hub'}",
            hint=f"Run: hf download {name}; or give a folder",
        ) from error
    return Path(folder)


def _digest(path: Path) -> str:
    # The hub's cache names large files by their digest.
    target = path.resolve().name
    if path.is_symlink() and _DIGEST.fullmatch(target):
        return target
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
