"""Pixels of a slide that is opened for each picture, so that no file stays open between them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from ruichat.slide.mpp import MppChoice
from ruichat.units import Region0

if TYPE_CHECKING:
    from ruichat.slide.slide import Slide


@dataclass(frozen=True)
class LentPixels:
    """See `ruichat.model.pictures.PixelSource`.

    Attributes:
        width0: of the slide.
        height0: of the slide.
        mpp: of the slide.
        lend: opens it.
    """

    width0: int
    height0: int
    mpp: MppChoice
    lend: Callable[[], AbstractContextManager[Slide]]

    @classmethod
    def of(cls, slide: Slide, lend: Callable[[], AbstractContextManager[Slide]]) -> LentPixels:
        """Pixels of a slide that is open now and may be closed later."""
        return cls(slide.width0, slide.height0, slide.mpp, lend)

    @property
    def bounds0(self) -> Region0:
        """The whole slide."""
        return Region0(0, 0, self.width0, self.height0)

    def read(
        self, region0: Region0, *, mpp: float, num_threads: int = 1
    ) -> UInt8[NDArray[np.uint8], "h w 3"]:
        """See `ruichat.slide.slide.Slide.read`."""
        with self.lend() as slide:
            return slide.read(region0, mpp=mpp, num_threads=num_threads)
