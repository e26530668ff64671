"""What a slide reader is, and the registry of those that `open_slide` tries in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from ruichat.registry import Registry
from ruichat.slide.arrays import Bytes, Ints
from ruichat.slide.geometry import Box


@runtime_checkable
class SlideReader(Protocol):
    """One open file of any format: pixels by level, nothing interpreted.

    The interface that packages outside implement, too; see docs/reader-plugin.md. `read_many` may
    be called from several threads. It is only asked for boxes that lie inside the level, and gives
    RGB with transparency laid over white.
    """

    @property
    def vendor(self) -> str:
        """Short name of the format."""
        ...

    @property
    def level_sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each level, finest first."""
        ...

    @property
    def file_mpp(self) -> tuple[float, float] | None:
        """Resolution in x and y that the file states, unjudged."""
        ...

    @property
    def objective(self) -> float | None:
        """Magnification that the file states."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about how the file is read."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that the slide consists of."""
        ...

    def read_many(
        self, level: int, boxes: Sequence[Box], outs: Sequence[Bytes], *, num_threads: int = 1
    ) -> None:
        """Fill each of `outs`, uint8 [h,w,3], with a box of one level; any failure is an exception.

        Boxes that follow each other in a row, as a grid's do, are read fastest.
        """
        ...

    def close(self) -> None:
        """Release the file."""
        ...


@runtime_checkable
class ReducingReader(SlideReader, Protocol):
    """A reader that decodes some levels at a fraction of their size.

    That is faster than to decode them whole and to average afterwards.
    """

    @property
    def reductions(self) -> tuple[tuple[int, ...], ...]:
        """For each level the whole factors, over 1, by which it can be reduced."""
        ...

    def read_reduced(
        self,
        level: int,
        factor: int,
        boxes: Sequence[Box],
        outs: Sequence[Bytes],
        *,
        num_threads: int = 1,
    ) -> None:
        """As `read_many`, in pixels of the reduced level, whose odd edges are cut off."""
        ...


@runtime_checkable
class SquaresReader(SlideReader, Protocol):
    """A reader that is asked for many boxes of one size at less cost than one by one."""

    def read_squares(
        self, level: int, factor: int, xy: Ints, out: Bytes, *, num_threads: int = 1
    ) -> None:
        """Fill `out`, uint8 [n,h,w,3], with the boxes at corners [n,2] of a level.

        Pixels are those of the level reduced by `factor`, which is 1 or one of its reductions.
        """
        ...


@runtime_checkable
class StoredReader(SlideReader, Protocol):
    """A reader of files that hold tiles as JPEG, which can be handed on without decoding them."""

    @property
    def stored_tiles(self) -> tuple[tuple[int, int] | None, ...]:
        """For each level width and height of its tiles; None where they can't be handed on."""
        ...

    def read_stored(self, level: int, column: int, row: int) -> bytes | None:
        """A tile of such a level as a whole JPEG; None where the file holds no sound one.

        It decodes to just the pixels that `read_many` gives, beyond the level's edge to anything.
        """
        ...


@runtime_checkable
class ProfiledReader(SlideReader, Protocol):
    """A reader that knows the colours of its file."""

    @property
    def icc_profile(self) -> bytes | None:
        """ICC profile of the pixels, as it lies in the file."""
        ...


PictureKind = Literal["label", "macro"]


@runtime_checkable
class PicturedReader(SlideReader, Protocol):
    """A reader that can show the slide's label or the whole glass; both can show names."""

    def picture(self, kind: PictureKind) -> Bytes | None:
        """RGB, uint8 [h,w,3], of such a picture; None where the file holds none."""
        ...


@dataclass(frozen=True, slots=True)
class ReaderCard:
    """A family of formats that can be opened.

    Attributes:
        name: unique name.
        summary: what it opens, for `doctor` and error messages.
        order: readers are tried in ascending order.
        loader: "module:function"; the function takes a path and returns a SlideReader, or None
            where the file isn't of its formats, and raises InputError where it is but can't be
            used. It runs in a child process.
        suffixes: of files that this reader is asked about before all others, ".kfb".
    """

    name: str
    summary: str
    order: int
    loader: str
    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file and the name of the card whose reader it is."""

    name: str
    reader: SlideReader


READERS: Registry[ReaderCard] = Registry("slide reader", "ruichat.readers")

READERS.add(
    ReaderCard(
        name="tiff",
        summary="OME-TIFF and other TIFF that OpenSlide doesn't know, tile by tile",
        order=5,
        loader="ruichat.slide.tiff_reader:open_reader",
    )
)
READERS.add(
    ReaderCard(
        name="openslide",
        summary="SVS, NDPI, SCN, MRXS, VMS, BIF, CZI, tiled TIFF and DICOM, through OpenSlide",
        order=10,
        loader="ruichat.slide.tiled_tiff:open_reader",
    )
)
READERS.add(
    ReaderCard(
        name="dicom",
        summary="DICOM that OpenSlide refuses, through pydicom",
        order=15,
        loader="ruichat.slide.dicom_reader:open_reader",
    )
)
READERS.add(
    ReaderCard(
        name="plain",
        summary="PNG, JPEG, BMP and WebP regions",
        order=20,
        loader="ruichat.slide.plain_reader:open_reader",
    )
)
