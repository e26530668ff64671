"""Embeddings of a site's tiles, kept so that the next run encodes only tiles that are new."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from ruichat.errors import ArtifactError
from ruichat.features.encoder import Encoder
from ruichat.storage.artifacts import Manifest, read_checked, save_arrays

KIND = "site-tiles"
SCHEMA_VERSION = 1
_CHUNK = 256

Tick = Callable[[int, int], None]
Embeddings = Float32[NDArray[np.float32], "n d"]


def encode_kept(
    encoder: Encoder,
    rgb: UInt8[NDArray[np.uint8], "n h w 3"],
    kept: Path | None,
    tick: Tick | None = None,
) -> Embeddings:
    """One embedding per tile; those of tiles that an earlier run encoded are read.

    A tile is known by its pixels, and the encoder by its weights, its precision and its whole
    card, which says how pixels are prepared and pooled. Only tiles of this run stay in the file:
    what was taken out of a folder is forgotten.

    Args:
        encoder: of the model that is adapted.
        rgb: the tiles.
        kept: folder for what is kept; None keeps nothing.
        tick: told how many of the new tiles are encoded, and of how many.

    Raises:
        ArtifactError: the folder can't be written.
    """
    digests = [hashlib.sha256(np.ascontiguousarray(tile).data).hexdigest() for tile in rgb]
    card = hashlib.sha256(repr(encoder.card).encode()).hexdigest()
    made_by = f"{encoder.digest} {encoder.way.precision} {card}"
    known: dict[str, NDArray[np.float32]] = {} if kept is None else _read(kept, made_by)
    new = [at for at, digest in enumerate(digests) if digest not in known]
    try:
        for start in range(0, len(new), _CHUNK):
            part = new[start : start + _CHUNK]
            known |= zip((digests[at] for at in part), encoder.encode(rgb[part]), strict=True)
            if tick is not None:
                tick(start + len(part), len(new))
    finally:
        if kept is not None and new:
            _write(kept, made_by, {one: known[one] for one in digests if one in known})
    return np.stack([known[digest] for digest in digests]).astype(np.float32)


def _file(kept: Path, made_by: str) -> Path:
    return kept / f"tiles-{hashlib.sha256(made_by.encode()).hexdigest()[:16]}.safetensors"


def _read(kept: Path, made_by: str) -> dict[str, NDArray[np.float32]]:
    path = _file(kept, made_by)
    if not path.is_file():
        return {}
    try:
        artifact = read_checked(path, kind=KIND, schema_version=SCHEMA_VERSION)
        tiles = artifact.manifest.details["tiles"]
        return dict(zip(tiles, artifact.arrays["embeddings"], strict=True))
    except (ArtifactError, KeyError, ValueError):
        # Whatever is wrong with it, the tiles are still there.
        return {}


def _write(kept: Path, made_by: str, known: dict[str, NDArray[np.float32]]) -> None:
    if not known:
        return
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        kind=KIND,
        made_from={"encoder": made_by},
        details={"tiles": list(known)},
    )
    save_arrays(_file(kept, made_by), {"embeddings": np.stack(list(known.values()))}, manifest)
