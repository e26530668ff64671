"""What an answer in free words says: which option, yes or no, and how boxes cover each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ruichat.truth.datasets.dialogue import labels

Polarity = Literal["yes", "no"]

_YES = re.compile(r"^\W*(?:yes\b|是|有|存在|可见)", re.IGNORECASE)
_NO = re.compile(r"^\W*(?:no\b|not\b|none\b|否|无|没有|未见|不是|不)", re.IGNORECASE)
_ANYWHERE = re.compile(r"(?<![A-Za-z])(yes|no|not|none)(?![A-Za-z])", re.IGNORECASE)
_BLANK = re.compile(r"[\s\W_]+")

# Possessive throughout: an answer of a hundred thousand brackets must not take a minute.
_OPENS = r"[\s\"'“‘(\[（【*]*+"
_SAYS = (
    r"(?:the\s++)?(?:(?:correct|best|right|final)\s++)?(?:answer|option|choice)\b\s*+(?:is\b)?"
    r"[\s:：]*+|(?:正确)?答案[是为选：:\s]*+|应?选项?[：:\s]*+"
)
_CLOSES = r"(?=[).,:;\]）】*、。，：；\"'”’]|\s*$)"


@runtime_checkable
class BoxLike(Protocol):
    """A box on a slide, level-0 pixels."""

    @property
    def x(self) -> int: ...
    @property
    def y(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


def fold(text: str) -> str:
    """Text without case, space and punctuation."""
    return _BLANK.sub("", text.casefold())


def chosen_option(text: str, options: Sequence[str], order: Sequence[int]) -> int | None:
    """Index of the option that an answer gives; None if it gives none.

    An answer that is an option's words, and nothing else, gives it. Else a label that opens it
    counts ("B.", "(B)", "The answer is B"), then the words that come first, of several that begin
    at the same place the longest; last a label that is said to be the answer further on. Words
    count whole: "Cannot tell" doesn't say no. "A tumour" names no label.

    Args:
        text: the answer.
        options: without labels.
        order: indices of the options as they were listed.
    """
    same = [i for i, option in enumerate(options) if fold(option) and fold(option) == fold(text)]
    if len(same) == 1:
        return same[0]
    said = _label(rf"^{_OPENS}(?:{_SAYS})?", text, options, order)
    if said is not None:
        return said
    found = [
        (match.start(), -len(option), i)
        for i, option in enumerate(options)
        if (match := _whole(option).search(text))
    ]
    return min(found)[2] if found else _label(rf"(?:{_SAYS})", text, options, order)


def _label(before: str, text: str, options: Sequence[str], order: Sequence[int]) -> int | None:
    names = labels(len(options))
    alternatives = "|".join(sorted(names, key=len, reverse=True))
    match = re.search(rf"{before}{_OPENS}({alternatives}){_CLOSES}", text, re.IGNORECASE)
    return order[names.index(match[1].upper())] if match else None


def _whole(words: str) -> re.Pattern[str]:
    """Finds words that no other Latin letter or digit touches; Chinese has no such borders."""
    before = r"(?<![A-Za-z0-9])" if re.match(r"[A-Za-z0-9]", words) else ""
    after = r"(?![A-Za-z0-9])" if re.search(r"[A-Za-z0-9]$", words) else ""
    return re.compile(before + re.escape(words) + after, re.IGNORECASE)


def polarity(text: str) -> Polarity | None:
    """Whether an answer says yes or no: by how it begins, else by the first such word in it.

    Source:
        LLaVA-Med (Li et al. 2023, arXiv:2306.00890) counts a closed answer as right that holds the
        right word. Ours: only the first of them, so that "yes or no" isn't right either way.
    """
    if _YES.search(text):
        return "yes"
    if _NO.search(text):
        return "no"
    found = _ANYWHERE.search(text)
    return None if found is None else "yes" if found[1].lower() == "yes" else "no"


def cover(boxes: Sequence[BoxLike], truth: Sequence[BoxLike]) -> tuple[float, float, float]:
    """Areas in square pixels: of the boxes' union, of the truth's, and of what both share."""
    both = [*boxes, *truth]
    xs = np.unique([v for b in both for v in (b.x, b.x + b.width)])
    ys = np.unique([v for b in both for v in (b.y, b.y + b.height)])
    if len(xs) < 2 or len(ys) < 2:
        return 0.0, 0.0, 0.0
    cell = np.outer(np.diff(ys), np.diff(xs)).astype(np.float64)

    def fill(items: Sequence[BoxLike]) -> NDArray[np.bool_]:
        mask = np.zeros(cell.shape, bool)
        for b in items:
            rows = slice(*np.searchsorted(ys, (b.y, b.y + b.height)))
            mask[rows, slice(*np.searchsorted(xs, (b.x, b.x + b.width)))] = True
        return mask

    ours, theirs = fill(boxes), fill(truth)
    return float(cell[ours].sum()), float(cell[theirs].sum()), float(cell[ours & theirs].sum())
