"""Feature files as TRIDENT, CLAM, STAMP and HistoGPT write them: names, dtypes, attributes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

DIM = 16


def grid(columns: int = 4, rows: int = 3, *, step: float = 512, dtype: Any = np.int64) -> NDArray:
    """Corners of tiles, column by column, with a hole."""
    xy = [(x * step, y * step) for x in range(columns) for y in range(rows) if (x, y) != (1, 1)]
    return np.array(xy, dtype)


def features(num: int, dim: int = DIM, dtype: Any = np.float32) -> NDArray:
    return np.random.default_rng(num).normal(size=(num, dim)).astype(dtype)


def _append(file: h5py.File, name: str, values: NDArray, attributes: dict[str, Any]) -> None:
    """Resizable, one row per chunk; dictionaries as JSON and None as a word."""
    shape = values.shape
    dataset = file.create_dataset(
        name, shape, values.dtype, maxshape=(None, *shape[1:]), chunks=(1, *shape[1:])
    )
    dataset[:] = values
    for key, value in attributes.items():
        text = json.dumps(value) if isinstance(value, dict) else value
        dataset.attrs[key] = "None" if text is None else text


def trident(path: Path, *, encoder: str | None = "uni_v2", dim: int = 1536, **changes: Any) -> Path:
    xy = grid()
    attributes = {
        "patch_size": 256,
        "patch_size_level0": 512,
        "level0_magnification": 40,
        "target_magnification": 20,
        "overlap": 0,
        "name": path.stem,
        "savetodir": "/somewhere",
        "level0_width": 3000,
        "level0_height": 2000,
        "processing": {"holes": True},
    }
    with h5py.File(path, "w") as file:
        about = {"name": path.stem, "savetodir": None, "encoder": encoder}
        _append(file, "features", features(len(xy), dim), about)
        _append(file, "coords", xy, attributes | changes)
    return path


def trident_empty(path: Path, *, dim: int | None) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("features", (0,) if dim is None else (0, dim), np.float32)
        file["features"].attrs["encoder"] = "uni_v2"
        file.create_dataset("coords", (0, 2), np.int64)
    return path


def clam_patches(path: Path, *, step: int = 512) -> Path:
    with h5py.File(path, "w") as file:
        attributes = {
            "patch_size": 256,
            "patch_level": 1,
            "downsample": (2.0, 2.0),
            "downsampled_level_dim": (1500, 1000),
            "level_dim": (1500, 1000),
            "name": path.stem,
            "save_path": "/somewhere",
        }
        _append(file, "coords", grid(step=step), {})
        for key, value in attributes.items():
            file["coords"].attrs[key] = value
    return path


def clam(path: Path, *, xy: NDArray | None = None, dim: int = DIM) -> Path:
    xy = grid(dtype=np.int32) if xy is None else xy
    with h5py.File(path, "w") as file:
        _append(file, "features", features(len(xy), dim), {})
        _append(file, "coords", xy, {})
    return path


def clam_torch(path: Path, *, num: int = 11, dim: int = DIM) -> Path:
    torch.save(torch.from_numpy(features(num, dim)), path)
    return path


def stamp(path: Path, *, extractor: str = "mahmood-uni2", dim: int = 1536, **changes: Any) -> Path:
    attributes: dict[str, Any] = {
        "stamp_version": "2.3.0",
        "extractor": extractor,
        "unit": "um",
        "tile_size_um": 256.0,
        "tile_size_px": 224,
        "code_hash": "0123abcd",
        "feat_type": "tile",
    }
    xy = grid(step=256.0, dtype=np.float32)
    with h5py.File(path, "w") as file:
        file["coords"] = xy
        file["feats"] = features(len(xy), dim, np.float16)
        for key, value in (attributes | changes).items():
            if value is not None:
                file.attrs[key] = value
    return path


def histogpt(path: Path, *, scenes: int = 1) -> Path:
    """Tiles of 512 px at 1 um/px; rows are called x."""
    xy = grid(step=512)
    scene = np.arange(len(xy)) % scenes
    coords = np.stack([scene, xy[:, 1], xy[:, 0]], axis=1).astype(np.float64)
    with h5py.File(path, "w") as file:
        file["coords"] = coords
        file["feats"] = features(len(xy), 768).tolist()
        file["model_name"] = "ctranspath"
        file["slide_sizes"] = [(9000, 7000)] * scenes
    return path
