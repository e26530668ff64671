"""What a feature file is, ours or another tool's, as plain values."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from ruichat.errors import ArtifactError
from ruichat.features.bag import check_bag
from ruichat.features.foreign.convert import read_file
from ruichat.features.foreign.names import encoder_name
from ruichat.storage.hdf5 import has_manifest


def describe(path: Path) -> dict[str, Any]:
    """Facts of a feature file, after checking the whole of it where it is ours.

    Raises:
        ArtifactError: a bag of ours that is damaged or of another version; no file.
        InputError: of no known layout, or without tiles.
    """
    if not path.is_file():
        raise ArtifactError(f"no file at {path}", hint="Check the path")
    if has_manifest(path):
        facts = dataclasses.asdict(check_bag(path))
        known = {name: None if _is_nan(value) else value for name, value in facts.items()}
        return {"file": path.name, "made_by": "RuiChat", **known}
    found = read_file(path)
    num, dim = found.features.shape
    stated = found.encoder
    return {
        "file": path.name,
        "made_by": found.tool,
        "num_tiles": num,
        "dim": dim,
        "encoder": None if stated is None else encoder_name(found.tool, stated, dim),
        "stated_encoder": stated,
        "positions": None if found.corners is None else found.unit,
        "side": found.side,
        "tile_px": found.tile_px or None,
        "size0": None if found.size0 is None else list(found.size0),
        "magnification": found.magnification,
        "overlap_px": found.overlap_px,
    }


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
