"""Pictures that dialogues are about, found by name in folders, as a model is shown them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ruichat.errors import InputError
from ruichat.model.pictures import Picture
from ruichat.truth.datasets.below import files_below
from ruichat.truth.datasets.dialogue import Dialogue
from ruichat.units import Region0

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


class PictureFolders:
    """Files of pictures by their path below a folder, or by their name where one has it.

    Args:
        folders: searched with all below them.

    Raises:
        InputError: a folder isn't there or can't be read.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._paths: dict[str, list[Path]] = {}
        self._names: dict[str, list[Path]] = {}
        for folder, path in files_below(folders, SUFFIXES, "pictures"):
            below = path.relative_to(folder).as_posix().casefold()
            self._paths.setdefault(below, []).append(path)
            self._names.setdefault(path.name.casefold(), []).append(path)

    def of(self, dialogue: Dialogue) -> Path | None:
        """The picture of a dialogue about one; None if there is none, or if it may be several."""
        if len(dialogue.tiles) != 1:
            return None
        named = dialogue.tiles[0].replace("\\", "/").removeprefix("./").casefold()
        found = self._paths.get(named) or self._names.get(named.rsplit("/", 1)[-1], [])
        return found[0] if len(found) == 1 else None


def read_picture(path: Path, side_px: int) -> Picture:
    """A picture whole, its longer side no longer than that.

    Raises:
        InputError: it can't be read as one.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.draft("RGB", (side_px, side_px))
            rgb = image.convert("RGB")
            rgb.thumbnail((side_px, side_px))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"a picture in {path.parent} can't be read ({type(error).__name__})",
            hint="Copy the folder of pictures again",
        ) from error
    box0 = Region0(0, 0, rgb.width, rgb.height)
    return Picture("picture", np.asarray(rgb), float("nan"), box0)
