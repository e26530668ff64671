"""The overlay: the slide's thumbnail with the cited regions drawn, named and explained."""

from __future__ import annotations

import functools
import importlib.resources
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Float64, UInt8
from numpy.typing import NDArray

from ruichat.chat.answer import Answer
from ruichat.chat.geojson import citation_class, citation_color
from ruichat.chat.labelling import VISIBLE_LABEL, file_metadata
from ruichat.chat.view import SlideView
from ruichat.units import scale_length

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

MIN_SIDE_PX = 900
"""Smaller thumbnails are enlarged, so that names stay legible."""

LABEL_SHARE = 0.05
"""Height of the AI label as a share of the picture's shorter side, at least (GB 45438-2025)."""

TINT = 0.30
"""Opacity of a cited tile's colour: the tissue stays visible beneath."""

MAX_SCALE_SHARE = 0.25
"""Longest scale bar as a share of the picture's width."""

FONT_FILE = "ruichat-cjk.ttf"

Color = tuple[int, int, int]

_INK: Color = (20, 20, 20)
_PAPER: Color = (255, 255, 255)

LEGEND_TEXTS = {
    "en": {"none": "no region cited", "class": "tissue that each region is cited for"},
    "zh": {"none": "未引用任何区域", "class": "所引各区域的组织"},
}


@dataclass(frozen=True)
class _Mark:
    """One cited region in thumbnail pixels."""

    name: str
    color: Color
    label: str
    box: tuple[float, float, float, float]
    tiles: Float64[NDArray[np.float64], "m 4"]
    """Left, top, right, bottom of each of its tiles, [m, 4]."""


def answer_overlay(
    answer: Answer, view: SlideView, thumbnail: UInt8[NDArray[np.uint8], "h w 3"]
) -> bytes:
    """Draw the regions an answer cites.

    Args:
        answer: its citations are drawn, tile by tile, in the colour of the tissue they stand for.
        view: the slide it is about.
        thumbnail: the whole slide, [h, w, 3].

    Returns:
        A PNG with a visible AI label and the same in its metadata.
    """
    from PIL import Image

    picture = Image.fromarray(thumbnail).convert("RGB")
    enlarge = max(1.0, MIN_SIDE_PX / max(picture.size))
    size = (round(picture.width * enlarge), round(picture.height * enlarge))
    if enlarge > 1:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    marks = _marks(answer, view, size)
    picture = _tint(picture, marks)
    font_px = max(15, round(max(size) / 55))
    _draw_boxes(picture, marks, font_px)
    return _png(_with_panel(picture, marks, answer, font_px), answer)


def _marks(answer: Answer, view: SlideView, size: tuple[int, int]) -> list[_Mark]:
    scale = np.array([size[0] / answer.slide.width0, size[1] / answer.slide.height0])
    marks: list[_Mark] = []
    for citation in answer.citations:
        index = int(citation.name[1:]) - 1
        xy0 = view.xy0[view.regions.assignment == index]
        corners = np.concatenate([xy0 * scale, (xy0 + view.span0) * scale], axis=1, dtype=float)
        box = citation.box0
        left, top = box.x * scale[0], box.y * scale[1]
        right, bottom = (box.x + box.width) * scale[0], (box.y + box.height) * scale[1]
        marks.append(
            _Mark(
                name=citation.name,
                color=citation_color(citation),
                label=citation_class(citation, answer.language),
                box=(left, top, right, bottom),
                tiles=corners,
            )
        )
    return marks


def _tint(picture: Image, marks: Sequence[_Mark]) -> Image:
    """Lay each region's colour over its own tiles; a bounding box may cover other tissue."""
    from PIL import Image, ImageDraw

    for mark in marks:
        inside = Image.new("L", picture.size, 0)
        draw = ImageDraw.Draw(inside)
        for left, top, right, bottom in np.round(mark.tiles).astype(int).tolist():
            draw.rectangle((left, top, right - 1, bottom - 1), fill=round(255 * TINT))
        picture.paste(mark.color, mask=inside)
    return picture


def _draw_boxes(picture: Image, marks: Sequence[_Mark], font_px: int) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    line = max(2, font_px // 8)
    for mark in marks:
        left, top, right, bottom = mark.box
        box = (left, top, min(right, picture.width - 1), min(bottom, picture.height - 1))
        # A white seam on both sides keeps the line visible on tissue of any colour.
        draw.rectangle(box, outline=_PAPER, width=line + 2)
        inner = (box[0] + 1, box[1] + 1, max(box[0] + 1, box[2] - 1), max(box[1] + 1, box[3] - 1))
        draw.rectangle(inner, outline=mark.color, width=line)
    for mark in marks:
        _draw_name(draw, mark, font_px, picture.size)


def _draw_name(draw: ImageDraw, mark: _Mark, font_px: int, size: tuple[int, int]) -> None:
    """A paper tag in the middle of the region, kept inside the picture."""
    width, height = _length(mark.name, font_px), font_px
    pad = max(2, font_px // 5)
    x = (mark.box[0] + mark.box[2]) / 2 - width / 2
    y = (mark.box[1] + mark.box[3]) / 2 - height / 2
    x = min(max(x, pad + 1), size[0] - width - pad - 2)
    y = min(max(y, pad + 1), size[1] - height - pad - 2)
    tag = (x - pad, y - pad, x + width + pad, y + height + pad)
    draw.rectangle(tag, fill=_PAPER, outline=mark.color, width=2)
    _write(draw, x, y + height / 2, mark.name, font_px)


def _with_panel(picture: Image, marks: Sequence[_Mark], answer: Answer, font_px: int) -> Image:
    """Put label and legend on a strip of paper under the picture, so that they hide no tissue."""
    from PIL import Image, ImageDraw

    entries = list(dict.fromkeys((mark.color, mark.label) for mark in marks))
    caption = LEGEND_TEXTS[answer.language]["class" if entries else "none"]
    gap = font_px // 2
    rows = _wrap(entries, picture.width - 2 * gap, font_px)
    label_px = _label_height(picture.size, font_px, len(rows))
    height = label_px + gap * 3 + (len(rows) + 1) * (font_px + gap)
    canvas = Image.new("RGB", (picture.width, picture.height + height), _PAPER)
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    y = picture.height + gap
    label_px = _fit_label(label_px, picture.width - 2 * gap)
    _write(draw, gap, y + label_px / 2, VISIBLE_LABEL, label_px)
    _draw_scale(draw, answer, picture.width, y, label_px, font_px)
    y += label_px + gap
    _write(draw, gap, y + font_px / 2, caption, font_px)
    y += font_px + gap
    for row in rows:
        x = gap
        for color, label in row:
            draw.rectangle((x, y, x + font_px, y + font_px), fill=color, outline=_INK)
            _write(draw, x + font_px + gap, y + font_px / 2, label, font_px)
            x += _entry_width(label, font_px)
        y += font_px + gap
    return canvas


def _draw_scale(
    draw: ImageDraw, answer: Answer, width: int, y: float, height: int, font_px: int
) -> None:
    """A scale bar at the right end of the label's line, where it has room beside the label."""
    width_mm = answer.slide.width0 * answer.slide.mpp / 1000
    length_mm = scale_length(width_mm * MAX_SCALE_SHARE)
    text, bar = f"{length_mm:g} mm", width * length_mm / width_mm
    gap = font_px // 2
    left = width - gap - bar
    if left - 3 * gap - _length(text, font_px) < gap + _length(VISIBLE_LABEL, height):
        return
    middle = y + height / 2
    draw.rectangle((left, middle - font_px / 8, width - gap, middle + font_px / 8), fill=_INK)
    _write(draw, left - gap - _length(text, font_px), middle, text, font_px)


def _label_height(size: tuple[int, int], font_px: int, num_rows: int) -> int:
    """Label height that is `LABEL_SHARE` of the shorter side of the picture with its strip."""
    width, height = size
    others = (num_rows + 3) * 2 * font_px
    shorter = min(width, height + others)
    return max(font_px, -int(-shorter * LABEL_SHARE / (1 - LABEL_SHARE) // 1))


def _fit_label(label_px: int, width: int) -> int:
    """A label wider than the picture shrinks: a narrow core can't hold it otherwise."""
    length = _length(VISIBLE_LABEL, label_px)
    return label_px if length <= width else max(8, int(label_px * width / length))


def _wrap(
    entries: Sequence[tuple[Color, str]], width: int, font_px: int
) -> list[list[tuple[Color, str]]]:
    rows: list[list[tuple[Color, str]]] = []
    used = 0
    for entry in entries:
        needed = _entry_width(entry[1], font_px)
        if not rows or used + needed > width:
            rows.append([])
            used = 0
        rows[-1].append(entry)
        used += needed
    return rows


def _entry_width(label: str, font_px: int) -> int:
    return font_px * 3 + round(_length(label, font_px))


def _runs(text: str, size_px: int) -> list[tuple[str, FreeTypeFont]]:
    """Stretches of one script each, with the font that holds them."""
    parts = re.findall(r"[\x00-\x7f]+|[^\x00-\x7f]+", text)
    return [(part, _font(size_px, part.isascii())) for part in parts]


def _length(text: str, size_px: int) -> float:
    return sum(font.getlength(part) for part, font in _runs(text, size_px))


def _write(draw: ImageDraw, x: float, middle: float, text: str, size_px: int) -> None:
    """Text in ink, its middle at that height."""
    for part, font in _runs(text, size_px):
        draw.text((x, middle), part, fill=_INK, font=font, anchor="lm")
        x += font.getlength(part)


@functools.cache
def _font(size_px: int, latin: bool) -> FreeTypeFont:
    """Pillow's own font for ASCII, the shipped one for the Chinese characters of our wordings."""
    from PIL import ImageFont

    if latin:
        return cast("FreeTypeFont", ImageFont.load_default(size_px))
    file = importlib.resources.files("ruichat") / "assets" / "fonts" / FONT_FILE
    return ImageFont.truetype(io.BytesIO(file.read_bytes()), size_px)


def _png(picture: Image, answer: Answer) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in file_metadata(answer).items():
        if value.isascii():
            info.add_text(key, value)
        else:
            info.add_itxt(key, value)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=info, compress_level=1)
    return buffer.getvalue()
