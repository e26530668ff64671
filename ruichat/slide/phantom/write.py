"""A phantom on disk: a pyramidal TIFF that OpenSlide opens, and its truth beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ruichat import __version__
from ruichat.histology import CLASSES
from ruichat.slide.phantom.config import ALL_ARTEFACTS, NO_TISSUE, NUCLEUS_KINDS
from ruichat.slide.phantom.draw import Phantom
from ruichat.storage.artifacts import write_atomic

TILE_PX = 256
LEVEL_FACTOR = 4
SMALLEST_PX = 256
JPEG_QUALITY = 90
UM_PER_CM = 10_000.0


def write_phantom(phantom: Phantom, path: Path) -> None:
    """Write the slide and its truth; each file is whole or absent.

    Beside `slide.tif` lie `slide.json` (areas, counts, nuclei, settings), `slide.mask.png`
    (palette image; a pixel's value is its class index, 255 is bare glass) and, where artefacts
    were drawn, `slide.artefacts.png` (bit i set where artefact i lies).

    Args:
        phantom: what to write.
        path: the TIFF; its folder is made where missing.

    Raises:
        ArtifactError: the disk is full or the folder can't be written.
    """
    write_atomic(path, lambda stream: _write_tiff(stream, phantom))
    truth = json.dumps(truth_of(phantom), ensure_ascii=False, separators=(",", ":"))
    write_atomic(path.with_suffix(".json"), (truth + "\n").encode())
    mask = Image.fromarray(phantom.classes)
    mask.putpalette(_palette())
    write_atomic(path.with_suffix(".mask.png"), lambda stream: mask.save(stream, "PNG"))
    marked = path.with_suffix(".artefacts.png")
    if phantom.config.artefacts:
        flags = Image.fromarray(phantom.artefacts)
        write_atomic(marked, lambda stream: flags.save(stream, "PNG"))
    else:
        marked.unlink(missing_ok=True)  # of an earlier phantom of that name


def truth_of(phantom: Phantom) -> dict[str, Any]:
    """Everything known about the phantom except pixels, as plain JSON values."""
    kinds = {
        name: np.rint(phantom.nuclei.xy0[phantom.nuclei.kind == index]).astype(int).tolist()
        for index, name in enumerate(NUCLEUS_KINDS)
    }
    marked = {
        name: float(np.count_nonzero(phantom.artefacts & (1 << bit)) / phantom.artefacts.size)
        for bit, name in enumerate(ALL_ARTEFACTS)
        if name in phantom.config.artefacts
    }
    return {
        "kind": "ruichat-phantom",
        "schema_version": 1,
        "ruichat_version": __version__,
        "fingerprint": phantom.config.fingerprint(),
        "config": phantom.config.model_dump(mode="json"),
        "size0": [phantom.config.width0, phantom.config.height0],
        "mpp": phantom.config.mpp,
        "areas_mm2": phantom.areas_mm2,
        "tissue_mm2": sum(phantom.areas_mm2.values()),
        "mitoses": phantom.mitoses,
        "nuclei": {name: len(points) for name, points in kinds.items()},
        "artefact_fractions": marked,
        "nuclei_xy0": kinds,
    }


def _write_tiff(stream: BinaryIO, phantom: Phantom) -> None:
    """Tiled JPEG levels, each a reduced image of the one before it."""
    with tifffile.TiffWriter(stream, bigtiff=phantom.rgb.nbytes > 2**31) as writer:
        for number, level in enumerate(_pyramid(phantom.rgb)):
            per_cm = UM_PER_CM / (phantom.config.mpp * LEVEL_FACTOR**number)
            writer.write(
                level,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": JPEG_QUALITY},
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=1 if number else 0,
                description=f"drawn phantom, no patient; seed {phantom.seed}",
                software=f"ruichat {__version__}",
                metadata=None,
            )


def _pyramid(rgb: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The levels, from full size down to one that fits a screen."""
    levels = [rgb]
    while max(levels[-1].shape[:2]) > SMALLEST_PX * LEVEL_FACTOR:
        rows, cols = levels[-1].shape[:2]
        small = Image.fromarray(levels[-1]).reduce(LEVEL_FACTOR)
        # A level whose sides don't divide by the factor would be shifted; readers expect floor.
        levels.append(np.asarray(small)[: rows // LEVEL_FACTOR, : cols // LEVEL_FACTOR])
    return levels


def _palette() -> list[int]:
    """Colours of the mask: the classes' own, white for bare glass."""
    colors = np.full((256, 3), 128, dtype=np.uint8)
    colors[: len(CLASSES)] = [item.color for item in CLASSES]
    colors[NO_TISSUE] = 255
    return colors.ravel().tolist()
