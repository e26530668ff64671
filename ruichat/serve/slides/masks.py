"""Overlays as small pictures: colours on nothing, one pixel per cell or tile, with their legend."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ruichat.chat.facts import TileReading, tiles_to_read
from ruichat.errors import NotFoundError
from ruichat.features.bag import FeatureBag
from ruichat.histology import CLASSES
from ruichat.slide.arrays import Bools, Bytes, Ints
from ruichat.slide.geometry import lay_axis
from ruichat.slide.picture import FAULT_COLORS
from ruichat.slide.slide_quality import Fault, SlideQuality
from ruichat.slide.tissue import TissueMask
from ruichat.units import Region0

Color = tuple[int, int, int]

TISSUE_COLOR: Color = (0, 150, 60)

SOLID = 255
"""Alpha of a cell that belongs to what is shown; the viewer sets the opacity of the whole."""

MAX_CELLS = 2048
"""Of a picture's side: browsers keep four bytes for each."""

FAULT_NAMES: dict[Fault, tuple[str, str]] = {
    "blur": ("out of focus", "失焦"),
    "pen": ("pen mark", "笔迹"),
    "fold": ("tissue fold", "组织折叠"),
    "bubble": ("air bubble", "气泡"),
    "border": ("edge of the scan", "扫描边缘"),
    "odd_stain": ("unusual stain", "染色异常"),
}
"""English and Chinese."""

UPPERMOST: tuple[Fault, ...] = ("pen", "fold", "bubble", "border", "blur", "odd_stain")
"""Whose colour a cell gets that has several faults: what hides more comes first."""

UNKNOWN_COLOR: Color = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class LegendItem:
    """A colour and what it stands for.

    Attributes:
        key: by which it can be shown alone.
        color: RGB.
        en: name in English.
        zh: name in Chinese.
        share: of the tissue that is so, 0 to 1; None where it can't be told.
    """

    key: str
    color: Color
    en: str
    zh: str
    share: float | None


_CLASS_ITEMS = (
    *(LegendItem(kind.key, kind.color, kind.en, kind.zh, None) for kind in CLASSES),
    LegendItem("unknown", UNKNOWN_COLOR, "tissue of no known class", "未知类别的组织", None),
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One overlay of a slide.

    Attributes:
        extent0: part of the slide that it covers.
        legend: what the colours mean.
        index: of each cell's colour in the legend, [h,w]; -1 where it has none.
        alpha: how opaque each cell is, [h,w].
        alone: by key, how opaque each cell is when that is shown alone, [h,w].
    """

    extent0: Region0
    legend: tuple[LegendItem, ...]
    index: NDArray[np.int16]
    alpha: Bytes
    alone: Mapping[str, Bytes]

    def png(self, only: str | None = None) -> bytes:
        """A picture of all of it, or of one key alone.

        Raises:
            NotFoundError: there is no such key.
        """
        index, alpha = self.index, self.alpha
        if only is not None:
            if only not in self.alone:
                raise NotFoundError(
                    f"the overlay shows no {only!r}", hint=f"It shows: {', '.join(self.alone)}"
                )
            keys = [item.key for item in self.legend]
            index, alpha = np.full_like(index, keys.index(only)), self.alone[only]
        colors = np.array([(0, 0, 0), *(item.color for item in self.legend)], np.uint8)
        return _png(np.dstack([colors[index + 1], np.where(index < 0, np.uint8(0), alpha)]))


def tissue_legend() -> tuple[LegendItem, ...]:
    """What the colour of tissue is."""
    return (LegendItem("tissue", TISSUE_COLOR, "tissue", "组织", None),)


def tissue_layer(tissue: TissueMask, bounds0: Region0) -> Layer:
    """Where tissue was found."""
    return _layer(bounds0, {"tissue": tissue.mask}, tissue_legend())


def quality_legend() -> tuple[LegendItem, ...]:
    """What the colours of faults are."""
    return tuple(
        LegendItem(fault, FAULT_COLORS[fault], *FAULT_NAMES[fault], None) for fault in UPPERMOST
    )


def quality_layer(quality: SlideQuality, bounds0: Region0) -> Layer:
    """Where the slide has faults."""
    shares = {str(finding.fault): finding.share for finding in quality.findings}
    legend = tuple(replace(item, share=_told(shares[item.key])) for item in quality_legend())
    masks = {str(fault): quality.finding(fault).mask for fault in UPPERMOST}
    return _layer(bounds0, masks, legend)


def class_layer(bag: FeatureBag, reading: TileReading) -> Layer:
    """What tissue each tile shows: its most probable class, the paler the less probable.

    Alone, a class is shown wherever it has a probability, not only where it is the most probable.
    Tissue of a kind that the classifier wasn't taught is shown as such.

    Args:
        bag: says where the tiles lie.
        reading: of its tiles.
    """
    columns, rows = (lay_axis(length0, bag.span0) for length0 in bag.size0)
    at = _nearest(rows, bag.xy0[:, 1]), _nearest(columns, bag.xy0[:, 0])
    probabilities = np.where(tiles_to_read(reading.known)[:, None], reading.probabilities, 0)
    unknown = ~tiles_to_read(reading.known)
    values = np.column_stack([probabilities, unknown])
    best = values.argmax(axis=1)
    shares = np.bincount(best, minlength=len(CLASSES) + 1) / max(1, len(best))
    shown = [n for n in np.argsort(-shares, kind="stable").tolist() if shares[n] > 0]
    index = np.full((len(rows), len(columns)), -1, np.int16)
    index[at] = np.argsort(shown)[np.searchsorted(np.sort(shown), best)]
    alone = {item.key: np.zeros(index.shape, np.uint8) for item in _CLASS_ITEMS}
    for number in shown:
        alone[_CLASS_ITEMS[number].key][at] = np.rint(values[:, number] * SOLID)
    alpha = np.zeros(index.shape, np.uint8)
    alpha[at] = np.rint(values.max(axis=1, initial=0) * SOLID)
    legend = tuple(replace(_CLASS_ITEMS[n], share=float(shares[n])) for n in shown)
    left, top = int(columns[0]), int(rows[0])
    right, bottom = int(columns[-1]) + bag.span0, int(rows[-1]) + bag.span0
    return Layer(
        Region0(left, top, right - left, bottom - top),
        legend,
        index,
        alpha,
        {item.key: alone[item.key] for item in legend},
    )


def _nearest(starts: Ints, values: Ints) -> Ints:
    """Index of the start that is closest to each value."""
    middles = (starts[1:] + starts[:-1]) / 2
    return np.searchsorted(middles, values)


def _layer(extent0: Region0, masks: Mapping[str, Bools], legend: tuple[LegendItem, ...]) -> Layer:
    """Of masks in the order of the legend; the first that is True gives a cell its colour."""
    masks = {key: _fewer(mask) for key, mask in masks.items()}
    stacked = np.stack([masks[item.key] for item in legend])
    index = np.where(stacked.any(axis=0), stacked.argmax(axis=0), -1).astype(np.int16)
    alone = {key: mask.astype(np.uint8) * np.uint8(SOLID) for key, mask in masks.items()}
    return Layer(extent0, legend, index, np.full(index.shape, SOLID, np.uint8), alone)


def _fewer(mask: Bools) -> Bools:
    """The mask with at most `MAX_CELLS` a side: True where at least half of a cell is."""
    from PIL import Image

    step = -(-max(mask.shape) // MAX_CELLS)
    if step == 1:
        return mask
    size = -(-mask.shape[1] // step), -(-mask.shape[0] // step)
    grey = Image.fromarray(mask.astype(np.uint8) * np.uint8(SOLID))
    return np.asarray(grey.resize(size, Image.Resampling.BOX)) > SOLID // 2


def _told(share: float) -> float | None:
    return None if math.isnan(share) else share


def _png(rgba: Bytes) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG")
    return file.getvalue()
