"""Files of ours: written whole or not at all, checked when read, and saying what made them."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ruichat import __version__
from ruichat.config import Config
from ruichat.errors import ArtifactError, StorageFullError

MANIFEST_KEY = "ruichat_manifest"

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

REST_SUFFIX = ".part"
"""Of files that are being written."""

BLOCK_BYTES = 8 << 20
"""Read at once where a file is only looked through."""

Arrays = Mapping[str, NDArray[Any]]
Writer = Callable[[BinaryIO], None]


@runtime_checkable
class Rows(Protocol):
    """An array in memory, or one that is sliced from an open file."""

    @property
    def dtype(self) -> Any:
        """Of its values."""
        ...

    @property
    def shape(self) -> Any:
        """Lengths of its axes."""
        ...

    def __getitem__(self, key: Any, /) -> Any: ...


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

    def to_json(self) -> str:
        """As it is kept in files: ASCII, fields in order of their names."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


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
            dir=path.parent, prefix=_rest_prefix(path), suffix=REST_SUFFIX, delete=False
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
        raise not_written(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove what killed writers of `path` left behind.

    To be called only by who holds the lock under which the path is written.
    """
    for rest in path.parent.glob(f"{glob.escape(_rest_prefix(path))}*{REST_SUFFIX}"):
        rest.unlink(missing_ok=True)


def _rest_prefix(path: Path) -> str:
    """Of the names of unfinished files: of one path only, and short enough for any name."""
    digest = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()
    return f".{path.name[:40]}.{digest[:8]}."


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
    write_atomic(path, save(solid, metadata={MANIFEST_KEY: complete.to_json()}))
    return complete


def read_checked(path: Path, *, kind: str, schema_version: int) -> Artifact:
    """Read arrays and manifest, refusing anything damaged or of another kind.

    Raises:
        ArtifactError: missing, damaged, changed, of another kind or schema.
    """
    raw = _read(path)
    arrays, manifest = _parse(path, raw)
    check_kind(path, manifest, kind=kind, schema_version=schema_version)
    if manifest.sha256 != content_digest(arrays, manifest):
        raise damaged(path, "its digest doesn't match its content")
    return Artifact(arrays, manifest)


def check_kind(path: Path, manifest: Manifest, *, kind: str, schema_version: int) -> None:
    """Refuse what is something else than was asked for.

    Raises:
        ArtifactError: of another kind or schema.
    """
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


def content_digest(arrays: Mapping[str, Rows], manifest: Manifest) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and bytes of arrays and over the manifest.

    Args:
        arrays: in memory or, like those of an open file, sliced from disk as they are needed.
        manifest: all but its digest and its writer's version count.
    """
    digest = hashlib.sha256()
    fields = manifest.model_dump(mode="json", exclude={"sha256", "ruichat_version"})
    digest.update(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode())
    for name in sorted(arrays):
        value = arrays[name]
        digest.update(f"|{name}|{value.dtype.str}|{value.shape}|".encode())
        for block in _in_blocks(value):
            digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _in_blocks(value: Rows) -> Iterator[NDArray[Any]]:
    """Consecutive rows that fit the memory, whatever the array's size."""
    if value.shape == ():
        yield np.asarray(value[()])
        return
    row = max(1, value.dtype.itemsize * int(np.prod(value.shape[1:])))
    step = max(1, BLOCK_BYTES // row)
    for start in range(0, value.shape[0], step):
        yield value[start : start + step]


def parse_manifest(path: Path, text: str | bytes) -> Manifest:
    """The manifest that a file carries.

    Raises:
        ArtifactError: it isn't one.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise damaged(path, str(error).splitlines()[0]) from error


def _parse(path: Path, raw: bytes) -> tuple[dict[str, NDArray[Any]], Manifest]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(raw)
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        text = header["__metadata__"][MANIFEST_KEY]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, str(error).splitlines()[0]) from error
    return arrays, parse_manifest(path, text)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(f"no file at {path}", hint="Check the path") from None
    except OSError as error:
        raise ArtifactError(
            f"{path} can't be read ({error.strerror})", hint="Check its permissions"
        ) from error


def damaged(path: Path, why: str) -> ArtifactError:
    """The error of a file whose content can't be right."""
    return ArtifactError(f"{path} is damaged: {why}", hint="Delete it and make it again")


def not_written(path: Path, error: OSError) -> ArtifactError:
    """The error of a file that the system wouldn't write, of its own kind for a full disk."""
    if error.errno in FULL:
        return StorageFullError(
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
