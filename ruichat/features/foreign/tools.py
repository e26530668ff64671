"""What each tool's HDF5 files hold.

Sources: the layouts as the tools' own writers produce them (TRIDENT, CLAM, STAMP 2, HistoGPT).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.features.foreign.found import Found, number, plain

if TYPE_CHECKING:
    import h5py


def read_layout(path: Path, file: h5py.File) -> Found:
    """What an HDF5 file of any known tool holds.

    Raises:
        InputError: it is none, holds a slide's single vector, or has no tiles.
    """
    names = set(file)
    if "feats" in names:
        coords = _dataset(path, file, "coords")
        if coords.ndim == 2 and coords.shape[1] == 3:
            return _histogpt(path, file)
        return _stamp(path, file)
    if "features" in names:
        if "coords" not in names:
            raise InputError(
                f"{path.name} holds one vector of a whole slide, or tiles without positions",
                hint="Give the file with the features of tiles",
            )
        # CLAM's files of features have no attributes at all.
        is_trident = len(file["coords"].attrs) > 0 or len(file["features"].attrs) > 0
        return _trident(path, file) if is_trident else _clam(path, file)
    if "coords" in names:
        raise InputError(
            f"{path.name} holds positions of tiles, but no features",
            hint="Give the file of features, and this one with --patches",
        )
    raise InputError(
        f"{path.name} is of no known layout: it holds {', '.join(sorted(names)) or 'nothing'}",
        hint="Files of TRIDENT, CLAM, STAMP and HistoGPT are read",
    )


def read_patches(path: Path, file: h5py.File) -> tuple[NDArray[np.float64], float, int]:
    """Corners and side of tiles, level-0 pixels, and pixels a side, of a CLAM file of patches.

    Raises:
        InputError: it isn't one.
    """
    coords = _dataset(path, file, "coords")
    attributes = file["coords"].attrs
    size, downsample = number(attributes.get("patch_size")), number(attributes.get("downsample"))
    if size is None or downsample is None:
        raise InputError(
            f"{path.name} doesn't state patch_size and downsample of its patches",
            hint="Give the file from CLAM's folder patches/",
        )
    return _pairs(path, coords), size * downsample, int(size)


def _trident(path: Path, file: h5py.File) -> Found:
    of_coords, of_features = file["coords"].attrs, file["features"].attrs
    side, size = number(of_coords.get("patch_size_level0")), number(of_coords.get("patch_size"))
    width, height = (number(of_coords.get(f"level0_{name}")) for name in ("width", "height"))
    encoder = plain(of_features.get("encoder"))
    return Found(
        tool="TRIDENT",
        features=_features(path, file, "features"),
        corners=_pairs(path, _dataset(path, file, "coords")),
        unit="level-0 pixels",
        encoder=None if encoder is None else str(encoder),
        side=side,
        tile_px=int(size or 0),
        size0=(int(width), int(height)) if width and height else None,
        magnification=number(of_coords.get("level0_magnification")),
        overlap_px=int(number(of_coords.get("overlap")) or 0),
    )


def _clam(path: Path, file: h5py.File) -> Found:
    return Found(
        tool="CLAM",
        features=_features(path, file, "features"),
        corners=_pairs(path, _dataset(path, file, "coords")),
        unit="level-0 pixels",
    )


def _stamp(path: Path, file: h5py.File) -> Found:
    attributes = file.attrs
    if plain(attributes.get("feat_type")) not in (None, "tile"):
        raise InputError(
            f"{path.name} holds one vector of a whole {plain(attributes['feat_type'])}",
            hint="Give the file with the features of tiles",
        )
    side = number(attributes.get("tile_size_um"))
    if side is None and plain(attributes.get("unit")) == "um":
        side = number(attributes.get("tile_size"))  # as STAMP 2.0 called it
    if side is None:
        raise InputError(
            f"{path.name} doesn't state tile_size_um: STAMP before 2 wrote positions in a unit "
            "that its files don't name",
            hint="Extract it again with STAMP 2 or with ruichat features extract",
        )
    encoder = plain(attributes.get("extractor"))
    return Found(
        tool="STAMP",
        features=_features(path, file, "feats"),
        corners=_pairs(path, _dataset(path, file, "coords")),
        unit="micrometres",
        encoder=None if encoder is None else str(encoder),
        side=side,
        tile_px=int(number(attributes.get("tile_size_px")) or 0),
    )


def _histogpt(path: Path, file: h5py.File) -> Found:
    """HistoGPT counts scenes, then rows, which it calls x, then columns, called y.

    It cuts tiles from a picture that was scaled down as a whole: positions are pixels of that.
    """
    coords = np.asarray(_dataset(path, file, "coords")[...], np.float64)
    scenes = np.unique(coords[:, 0]) if len(coords) else np.zeros(0)
    if len(scenes) > 1:
        raise InputError(
            f"{path.name} holds tiles of {len(scenes)} scenes, whose places on the slide it "
            "doesn't state",
            hint="Extract the slide with: ruichat features extract",
        )
    content: Any = file
    encoder = plain(content["model_name"][()]) if "model_name" in file else None
    sizes = np.reshape(content["slide_sizes"][...] if "slide_sizes" in file else [], (-1, 2))
    scene = int(scenes[0]) if len(scenes) else 0
    return Found(
        tool="HistoGPT",
        features=_features(path, file, "feats"),
        corners=_pairs(path, coords[:, [2, 1]]),
        unit="tile pixels",
        encoder=None if encoder is None else str(encoder),
        size0=(int(sizes[scene, 0]), int(sizes[scene, 1])) if scene < len(sizes) else None,
    )


def _dataset(path: Path, file: h5py.File, name: str) -> Any:
    if name not in file:
        raise InputError(
            f"{path.name} has no dataset {name!r}",
            hint="Give the file as its tool wrote it, with positions",
        )
    return file[name]


def _features(path: Path, file: Any, name: str) -> NDArray[np.float32]:
    """One row per tile, in float32, which holds every float16 exactly."""
    values = np.asarray(file[name][...])
    if values.shape[:1] == (0,):
        raise InputError(f"{path.name} holds no tiles: no tissue was found", hint="Leave it out")
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]  # a batch of one, as TRIDENT once wrote
    if values.ndim != 2:
        raise InputError(
            f"{path.name} holds {name} of shape {values.shape}; tiles by width are wanted",
            hint="Give the file with the features of tiles",
        )
    return values.astype(np.float32)


def _pairs(path: Path, coords: Any) -> NDArray[np.float64]:
    values = np.asarray(coords[...], np.float64)
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    if values.size == 0:
        return np.zeros((0, 2))
    if values.ndim != 2 or values.shape[1] != 2:
        raise InputError(
            f"{path.name} holds coords of shape {values.shape}; x and y by tile are wanted",
            hint="Give the file as its tool wrote it",
        )
    return values
