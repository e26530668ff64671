"""What people say of feature files that don't say it themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from ruichat.config import Config


@dataclass(frozen=True)
class Given:
    """What the user says of files that don't say it themselves.

    Attributes:
        encoder: name of its card.
        mpp: micrometres per level-0 pixel.
        tile_mpp: resolution at which tiles were read, micrometres per pixel.
        patches: CLAM's file of patches, for files without positions or sides.
    """

    encoder: str | None = None
    mpp: float | None = None
    tile_mpp: float | None = None
    patches: Path | None = None


class BagReading(Config):
    """What feature files of other tools don't state, as settings say it."""

    mpp: float | None = Field(default=None, gt=0)
    """Micrometres per level-0 pixel."""
    tile_mpp: float | None = Field(default=None, gt=0)
    """Resolution at which tiles were read."""

    def given(self, encoder: str | None) -> Given:
        """The same for files of an encoder; None where they have to name it."""
        return Given(encoder=encoder, mpp=self.mpp, tile_mpp=self.tile_mpp)
