"""From another tool's file to a bag of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ruichat.errors import ConfigError, InputError
from ruichat.features.bag import FeatureBag
from ruichat.features.encoder import ENCODERS
from ruichat.features.foreign.found import Found
from ruichat.features.foreign.given import Given
from ruichat.features.foreign.names import encoder_name
from ruichat.features.foreign.tools import read_layout, read_patches
from ruichat.registry import require
from ruichat.storage.hdf5 import is_hdf5

if TYPE_CHECKING:
    import h5py

TORCH_SUFFIXES = (".pt", ".pth")

MIN_AGREEING = 0.5
"""Share of neighbours that must lie equally far apart for that to be the side of a tile."""


def read_file(path: Path) -> Found:
    """What a feature file of another tool holds.

    Raises:
        InputError: it can't be read, is of no known layout, or has no tiles.
    """
    try:
        if not is_hdf5(path):
            if path.suffix.lower() in TORCH_SUFFIXES:
                return Found("CLAM", _read_torch(path), None, "level-0 pixels")
            raise InputError(
                f"{path.name} is neither HDF5 nor {' nor '.join(TORCH_SUFFIXES)}",
                hint="Files of TRIDENT, CLAM, STAMP and HistoGPT are read",
            )
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror})", hint="Check path and permissions"
        ) from error
    with _opened(path) as file:
        return read_layout(path, file)


def convert(path: Path, given: Given, *, key: str = "") -> FeatureBag:
    """The bag in a feature file of another tool.

    Focus, stain and tissue weren't measured, so they are NaN; whose weights the encoder had isn't
    known, so a reader can hold the bag only to its encoder's name and width.

    Args:
        path: of the file.
        given: what it may not state.
        key: that the bag is to carry.

    Raises:
        InputError: the file can't be used; the hint names the option that helps.
        ConfigError: what is given contradicts the file.
    """
    found = read_file(path)
    encoder = _encoder(path, found, given)
    if given.patches is not None:
        found = _joined(path, found, given.patches)
    if found.corners is None:
        raise InputError(
            f"{path.name} has no positions of its tiles",
            hint="Make a bag of it with CLAM's file of patches of the same slide: ruichat features "
            "import --patches",
        )
    if len(found.corners) != len(found.features):
        raise InputError(
            f"{path.name} has {len(found.features)} features and {len(found.corners)} positions",
            hint="Give the files of one and the same extraction",
        )
    mpp = _mpp(path, found, given)
    scale = _scale(path, found, given, mpp)
    side = found.side if found.side is not None else _pitch(path, found.corners)
    xy0, span0 = np.rint(found.corners * scale).astype(np.int64), round(side * scale)
    return _bag(found, encoder, mpp, xy0, span0, key)


def _bag(
    found: Found, encoder: str, mpp: float, xy0: NDArray[np.int64], span0: int, key: str
) -> FeatureBag:
    unmeasured = np.full(len(xy0), np.nan, np.float32)
    warnings = [
        f"imported from {found.tool}: focus, stain and tissue weren't measured, and the weights of "
        f"{encoder} can't be checked"
    ]
    size0 = found.size0
    if size0 is None:
        width, height = xy0.max(axis=0) + span0
        size0 = int(width), int(height)
        warnings.append("the slide's size isn't stated: it is taken to end with its last tiles")
    return FeatureBag(
        embeddings=found.features,
        xy0=xy0,
        span0=span0,
        base_mpp=mpp,
        size0=size0,
        focus=unmeasured,
        hematoxylin=unmeasured,
        eosin=unmeasured,
        tissue_area_mm2=float("nan"),
        he_share=float("nan"),
        encoder=encoder,
        encoder_digest="",
        slide_digest="",
        fingerprint="",
        warnings=tuple(warnings),
        tile_px=found.tile_px,
        overlap_px=found.overlap_px,
        key=key,
    )


def _encoder(path: Path, found: Found, given: Given) -> str:
    """The encoder's name, from the file or from the user, if they don't contradict."""
    dim = found.features.shape[1]
    stated = None if found.encoder is None else encoder_name(found.tool, found.encoder, dim)
    if given.encoder is None:
        if stated is None:
            raise InputError(
                f"{path.name} doesn't state which encoder made it (d={dim})",
                hint="Give it with --encoder",
            )
        return stated
    card = ENCODERS.get(given.encoder)
    if stated is not None and stated != card.name:
        raise ConfigError(
            f"{path.name} was made by {stated!r}, given is {card.name!r}",
            hint="Leave out --encoder",
        )
    if card.dim != dim:
        raise ConfigError(
            f"{path.name} holds embeddings of width {dim}; {card.name} gives {card.dim}",
            hint="Give another --encoder",
        )
    return card.name


def _mpp(path: Path, found: Found, given: Given) -> float:
    if given.mpp is not None:
        if not given.mpp > 0:
            raise ConfigError(f"--mpp {given.mpp:g} is not a resolution", hint="Give it in um/px")
        return given.mpp
    about = ""
    if found.magnification:
        about = f"; it says {found.magnification:g}x, usually about {10 / found.magnification:g}"
    raise InputError(
        f"{path.name} doesn't state micrometres per level-0 pixel of its slide{about}",
        hint="Give it with --mpp, in settings as mpp; ruichat slide info tells it",
    )


def _scale(path: Path, found: Found, given: Given, mpp: float) -> float:
    """Level-0 pixels per unit of the file."""
    if found.unit == "level-0 pixels":
        return 1.0
    if found.unit == "micrometres":
        return 1 / mpp
    if given.tile_mpp is None:
        raise InputError(
            f"{path.name} counts in pixels of a scaled picture and doesn't state its resolution",
            hint="Give micrometres per pixel of the tiles with --tile-mpp, in settings as tile_mpp "
            "(HistoGPT's default resolution_in_mpp is 1)",
        )
    return given.tile_mpp / mpp


def _joined(path: Path, found: Found, patches: Path) -> Found:
    """With positions and sides from CLAM's file of patches."""
    with _opened(patches) as file:
        corners, side, tile_px = read_patches(patches, file)
    if found.corners is not None and not np.array_equal(found.corners, corners):
        raise InputError(
            f"{patches.name} has other positions than {path.name}",
            hint="Give the files of one and the same extraction",
        )
    return Found(
        tool=found.tool,
        features=found.features,
        corners=corners,
        unit="level-0 pixels",
        encoder=found.encoder,
        side=side,
        tile_px=tile_px,
    )


def _pitch(path: Path, corners: NDArray[np.float64]) -> float:
    """Distance of neighbours in rows and columns, where most agree on it."""
    steps: Counter[float] = Counter()
    for axis in (0, 1):
        order = np.lexsort((corners[:, axis], corners[:, 1 - axis]))
        ordered = corners[order]
        same_line = ordered[1:, 1 - axis] == ordered[:-1, 1 - axis]
        apart = (ordered[1:, axis] - ordered[:-1, axis])[same_line]
        steps.update(apart[apart > 0].tolist())
    if not steps or (best := steps.most_common(1)[0])[1] < MIN_AGREEING * steps.total():
        raise InputError(
            f"{path.name} doesn't state the side of its tiles, and their positions don't tell it",
            hint="Make a bag of it with CLAM's file of patches: ruichat features import --patches",
        )
    return best[0]


def _read_torch(path: Path) -> NDArray[np.float32]:
    """A tensor saved by torch, read without running what else the file may hold."""
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path.name} holds more than arrays, and reading that could run code",
            hint="Save the tensor of features alone",
        ) from error
    except Exception as error:  # torch's readers raise anything
        raise InputError(
            f"{path.name} can't be read as a tensor ({type(error).__name__})", hint="Copy it again"
        ) from error
    if not isinstance(content, torch.Tensor) or content.ndim != 2 or len(content) == 0:
        what = (
            f"of shape {tuple(content.shape)}"
            if isinstance(content, torch.Tensor)
            else type(content).__name__
        )
        raise InputError(
            f"{path.name} holds {what}; a tensor of tiles by width is wanted",
            hint="Give CLAM's .pt file as it was written",
        )
    return content.float().numpy()


@contextmanager
def _opened(path: Path) -> Generator[h5py.File]:
    """The file, and whatever HDF5 finds wrong with it as an error of ours."""
    h5py_module = require("h5py")
    try:
        with h5py_module.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path.name} is damaged: {reason}", hint="Copy it again") from error
