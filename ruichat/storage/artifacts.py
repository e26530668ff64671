"""Files of ours: written whole or not at all, checked when read, and saying what made them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ruichat import __version__
from ruichat.config import Config
from ruichat.errors import ArtifactError

MANIFEST_KEY = "ruichat_manifest"

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Arrays = Mapping[str, NDArray[Any]]
Writer = Callable[[BinaryIO], None]


class Manifest(Config):
    """What an artefact is and what it was made from."""

    schema_version: int
    """Of the artefact's kind; readers refuse any other."""
    kind: str
    """For example "feature-bag"."""
    made_from: dict[str, str] = Field(default_factory=dict)
    """Digest by role, for example {"slide": ..., "encoder": ...}."""
    config_fingerprint: str = ""
    """Fingerprint of the whole config that made it."""
    details: dict[str, Any] = Field(default_factory=dict)
    """Plain JSON values that belong to the content."""
    sha256: str = ""
    """Over the arrays and all fields above; filled in on writing."""
    ruichat_version: str = __version__
    """Of the writer; not part of the digest."""


@dataclass(frozen=True)
class Artifact:
    """An artefact as read, its digest checked."""

    arrays: dict[str, NDArray[Any]]
    manifest: Manifest


def cache_dir() -> Path:
    """Where bags are kept: $RUICHAT_CACHE, else the user's cache folder."""
    import platformdirs

    given = os.environ.get("RUICHAT_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("ruichat"))


def write_atomic(path: Path, content: bytes | Writer) -> None:
    """Write a file so that it is there whole or not at all, even if the machine stops.

    Only its owner may read it: most files hold what was seen on somebody's slide.

    Args:
        path: its folder is made where missing.
        content: the bytes, or a function that writes them to an open file.

    Raises:
        ArtifactError: the disk is full or the folder can't be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part", delete=False
        ) as file:
            temporary = Path(file.name)
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def save_arrays(path: Path, arrays: Arrays, manifest: Manifest) -> Manifest:
    """Write arrays with their manifest as one safetensors file, atomically.

    Returns:
        The manifest with its digest.

    Raises:
        ArtifactError: the file can't be written.
    """
    from safetensors.numpy import save

    solid = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    complete = manifest.model_copy(update={"sha256": content_digest(solid, manifest)})
    text = json.dumps(complete.model_dump(mode="json"), ensure_ascii=False, sort_keys=True)
    write_atomic(path, save(solid, metadata={MANIFEST_KEY: text}))
    return complete


def read_checked(path: Path, *, kind: str, schema_version: int) -> Artifact:
    """Read arrays and manifest, refusing anything damaged or of another kind.

    Raises:
        ArtifactError: missing, damaged, changed, of another kind or schema.
    """
    raw = _read(path)
    arrays, manifest = _parse(path, raw)
    if manifest.kind != kind:
        raise ArtifactError(
            f"{path.name} is a {manifest.kind!r}, not a {kind!r}", hint=f"Give a {kind} file"
        )
    if manifest.schema_version != schema_version:
        raise ArtifactError(
            f"{path.name} has schema {manifest.schema_version} of {kind}; this version reads "
            f"{schema_version}",
            hint="Make it again with this version",
        )
    if manifest.sha256 != content_digest(arrays, manifest):
        raise _damaged(path, "its digest doesn't match its content")
    return Artifact(arrays, manifest)


def content_digest(arrays: Arrays, manifest: Manifest) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and bytes of arrays and over the manifest."""
    digest = hashlib.sha256()
    fields = manifest.model_dump(mode="json", exclude={"sha256", "ruichat_version"})
    digest.update(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"|{name}|{value.dtype.str}|{value.shape}|".encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _parse(path: Path, raw: bytes) -> tuple[dict[str, NDArray[Any]], Manifest]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(raw)
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        manifest = Manifest.model_validate_json(header["__metadata__"][MANIFEST_KEY])
    except (SafetensorError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    return arrays, manifest


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(f"no file at {path}", hint="Check the path") from None
    except OSError as error:
        raise ArtifactError(
            f"{path} can't be read ({error.strerror})", hint="Check its permissions"
        ) from error


def _damaged(path: Path, why: str) -> ArtifactError:
    return ArtifactError(f"{path} is damaged: {why}", hint="Delete it and make it again")


def _not_written(path: Path, error: OSError) -> ArtifactError:
    if error.errno in FULL:
        return ArtifactError(
            f"the disk is full: {path} was not written",
            hint="Free some space, or set RUICHAT_CACHE to a folder on another disk; what was "
            "finished is kept and the next run goes on from there",
        )
    return ArtifactError(
        f"{path} can't be written ({error.strerror})",
        hint="Check the folder's permissions or give another one; RUICHAT_CACHE sets the cache's",
    )


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; not every system lets folders be opened."""
    with contextlib.suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
