"""A library of drawn slides on a real database, for tests of the server's slide part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from drawn import draw_tissue

from ruichat.serve.slides.library import SlideLibrary
from ruichat.serve.slides.tiles import Tiles
from ruichat.storage.database import slides
from ruichat.storage.database.connect import Database

PICTURE = draw_tissue(900, 700, margin=40, seed=5)


@dataclass(frozen=True)
class House:
    """What the slide part of the server stands on.

    Attributes:
        folder: the one allowed folder, called "glass".
        user_id: owner of the case.
        case_id: to which slides are added.
    """

    database: Database
    library: SlideLibrary
    tiles: Tiles
    folder: Path
    user_id: str
    case_id: str

    def add(self, path: Path, **known: Any) -> str:
        """A slide in the case; its id."""
        with self.database.session() as session:
            slide = slides.add_slide(
                session,
                user_id=self.user_id,
                case_id=self.case_id,
                name=path.stem,
                root="glass",
                path=path.relative_to(self.folder).as_posix(),
                **known,
            )
            return slide.id

    def state(self, slide_id: str) -> tuple[str, str | None]:
        """State and error of a slide."""
        with self.database.session() as session:
            row = slides.any_slide(session, slide_id)
            return row.state, row.error


def write_jpeg_pyramid(
    path: Path, *, tile: int = 256, levels: int = 3, description: str | None = None
) -> Path:
    """As scanners write them: JPEG tiles, each level half the one before.

    Args:
        description: what the file says of itself.
    """
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            file.write(
                np.ascontiguousarray(PICTURE[:: 2**level, :: 2**level]),
                tile=(tile, tile),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                compressionargs={"level": 85},
                subfiletype=int(level > 0),
                resolution=(20_000, 20_000),
                resolutionunit=3,
                metadata=None,
                description=description if level == 0 else None,
            )
    return path
