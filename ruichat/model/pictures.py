"""Pictures of a slide's regions for models that look at pixels, each read when asked for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from pydantic import Field

from ruichat.config import Config
from ruichat.model.regions import Regions
from ruichat.slide.geometry import fit_factor
from ruichat.units import Region0

if TYPE_CHECKING:
    from ruichat.slide.mpp import MppChoice

JPEG_QUALITY = 90
"""At which a picture of stained tissue shows no blocks, at a tenth of the size without loss."""

_BOX_COLOR = (0, 70, 200)
"""Blue, which neither haematoxylin nor eosin looks like."""


class PictureConfig(Config):
    """How much of a slide a model is shown."""

    max_regions: int = Field(default=12, ge=1, le=64)
    """Regions a slide is cut into at most, and pictures of them."""
    overview_px: int = Field(default=896, ge=32)
    """Longer side of the picture of the whole slide."""
    region_px: int = Field(default=448, ge=32)
    """Longer side of the picture of a region, at most."""
    finest_mpp: float = Field(default=0.5, gt=0)
    """No picture is finer than this, micrometres per pixel: small regions get small pictures."""
    max_details: int = Field(default=2, ge=0)
    """Regions named in a question of which a closer view is added, at most."""


@dataclass(frozen=True)
class Picture:
    """Pixels of a slide.

    Attributes:
        name: of the region, or "overview".
        rgb: the pixels.
        mpp: micrometres per pixel.
        box0: what it shows.
    """

    name: str
    rgb: UInt8[NDArray[np.uint8], "h w 3"]
    mpp: float
    box0: Region0

    @cached_property
    def jpeg(self) -> bytes:
        """The picture as a JPEG file, without any text of the slide in it."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self.rgb).save(buffer, format="JPEG", quality=JPEG_QUALITY)
        return buffer.getvalue()


@runtime_checkable
class PixelSource(Protocol):
    """What pictures are read from: a slide, or somebody who opens it for each."""

    @property
    def width0(self) -> int:
        """Width in level-0 pixels."""
        ...

    @property
    def height0(self) -> int:
        """Height in level-0 pixels."""
        ...

    @property
    def mpp(self) -> MppChoice:
        """The resolution of level 0."""
        ...

    @property
    def bounds0(self) -> Region0:
        """The whole slide."""
        ...

    def read(
        self, region0: Region0, *, mpp: float, num_threads: int = 1
    ) -> UInt8[NDArray[np.uint8], "h w 3"]:
        """See `ruichat.slide.slide.Slide.read`."""
        ...


class SlidePictures:
    """Gives pictures of one slide; each is read when it is asked for.

    Args:
        slide: can be read for as long as pictures are asked for.
        regions: its named regions.
        xy0: top left corners of its tiles, level-0 pixels.
        span0: side of a tile, level-0 pixels.
        config: how large and fine pictures are.
        within: the box that the overview shows; the whole slide if None.
    """

    def __init__(
        self,
        slide: PixelSource,
        regions: Regions,
        xy0: Int64[NDArray[np.int64], "n 2"],
        span0: int,
        config: PictureConfig | None = None,
        *,
        within: Region0 | None = None,
    ) -> None:
        self.config = config or PictureConfig()
        self._whole = within or slide.bounds0
        self.regions = regions
        self._slide, self._xy0, self._span0 = slide, xy0, span0

    def overview(self) -> Picture:
        """The whole of what was asked about, its regions boxed and named.

        Raises:
            InputError: the file is damaged.
        """
        slide, whole = self._slide, self._whole
        factor = fit_factor(whole.width, whole.height, self.config.overview_px)
        rgb = slide.read(whole, mpp=slide.mpp.value * factor)
        boxed = _with_boxes(rgb, self.regions.boxes, whole)
        return Picture("overview", boxed, slide.mpp.value * factor, whole)

    def region(self, index: int) -> Picture:
        """One region whole, as fine as its picture's size allows.

        Args:
            index: 0 for R1.

        Raises:
            InputError: the file is damaged.
        """
        box0, base = self.regions.boxes[index], self._slide.mpp.value
        mpp = max(base, self.config.finest_mpp)
        mpp = max(mpp, base * max(box0.width, box0.height) / self.config.region_px)
        return Picture(f"R{index + 1}", self._slide.read(box0, mpp=mpp), mpp, box0)

    def detail(self, index: int) -> Picture:
        """The middle of one region's tissue at the finest resolution that is shown.

        Args:
            index: 0 for R1.

        Raises:
            InputError: the file is damaged.
        """
        base = self._slide.mpp.value
        mpp = max(base, self.config.finest_mpp)
        side0 = round(self.config.region_px * mpp / base)
        centres = self._xy0[self.regions.assignment == index] + self._span0 / 2
        far = np.abs(centres - centres.mean(axis=0)).sum(axis=1)
        x, y = centres[int(far.argmin())]
        box0 = Region0(round(x - side0 / 2), round(y - side0 / 2), side0, side0)
        return Picture(f"R{index + 1}", self._slide.read(box0, mpp=mpp), mpp, box0)


def _with_boxes(
    rgb: UInt8[NDArray[np.uint8], "h w 3"],
    boxes: tuple[Region0, ...],
    whole: Region0,
) -> UInt8[NDArray[np.uint8], "h w 3"]:
    """The picture with a frame and a name for each region."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(rgb)
    draw = ImageDraw.Draw(picture)
    across, down = picture.width / whole.width, picture.height / whole.height
    font_px = max(12, max(picture.size) // 40)
    font = ImageFont.load_default(font_px)
    for number, box in enumerate(boxes, start=1):
        left, top = max(0, box.x - whole.x) * across, max(0, box.y - whole.y) * down
        right = min((box.x + box.width - whole.x) * across, picture.width) - 1
        bottom = min((box.y + box.height - whole.y) * down, picture.height) - 1
        frame = (left, top, max(left, right), max(top, bottom))
        draw.rectangle(frame, outline=_BOX_COLOR, width=max(1, font_px // 8))
        middle = ((frame[0] + frame[2]) / 2, (frame[1] + frame[3]) / 2)
        draw.text(
            *(middle, f"R{number}", _BOX_COLOR, font, "mm"), stroke_fill="white", stroke_width=2
        )
    return np.asarray(picture)
