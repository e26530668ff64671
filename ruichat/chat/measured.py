"""Statements of amount that the tiles can check: which half, which region, more than half.

What can be measured isn't left to the model: where its words contradict the tile classifier's
count, the answer is withheld and the count is shown instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ruichat.chat.support import tissue_keys
from ruichat.chat.view import SlideView
from ruichat.histology import KEYS, Language

_HALF = re.compile(
    r"\bThe (?P<en>left|right|upper|lower) half has more (?P<en_of>[^\[.]+)"
    r"|(?P<zh>[左右上下])半部分的(?P<zh_of>.+?)更多"
)
_REGION = re.compile(
    r"\[R(?P<en>\d+)\] has more (?P<en_of>.+?) than \[R(?P<en_than>\d+)\]"
    r"|\[R(?P<zh>\d+)\]\s*的(?P<zh_of>.+?)比\s*\[R(?P<zh_than>\d+)\]\s*多"
)
_MAJORITY = re.compile(
    r"\b(?:(?P<en_yes>Yes, more)|No, less) than half of the tissue is (?P<en_of>[^\[.]+)"
    r"|(?:是，(?P<zh_yes>超过)|否，不到)一半(?:的)?(?:组织)?(?:是|为)(?P<zh_of>[^\[。]+)"
)

_AXES = {
    **dict.fromkeys(("left", "左"), (0, True)),
    **dict.fromkeys(("right", "右"), (0, False)),
    **dict.fromkeys(("upper", "上"), (1, True)),
    **dict.fromkeys(("lower", "下"), (1, False)),
}
"""Which axis a half lies on, and whether it is the half where that coordinate is small."""

_HALVES: dict[Language, tuple[tuple[str, str], tuple[str, str]]] = {
    "en": (("left half", "right half"), ("upper half", "lower half")),
    "zh": (("左半", "右半"), ("上半", "下半")),
}


_Shares = NDArray[np.float32]
"""Share (0-1) of the tissue in question in each region, [k]."""

CLOSE = 0.02
"""Shares that differ by less are too close to call, and contradict nothing."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """A count that contradicts the model's words.

    Attributes:
        measured: what was counted: (name of the part, share 0-1) each.
    """

    measured: tuple[tuple[str, float], ...]


def is_beside_the_point(sentence: str, kind: str) -> bool:
    """Whether it compares halves or regions though the question asked for no such thing."""
    if kind in ("side", "compare"):
        return False
    return _HALF.search(sentence) is not None or _REGION.search(sentence) is not None


def find_dispute(sentence: str, view: SlideView, language: Language) -> Dispute | None:
    """The count that contradicts a sentence; None where it agrees or nothing can be counted."""
    classes = view.region_classes
    if classes is None:
        return None
    for pattern, check in _CHECKS:
        match = pattern.search(sentence)
        if match is not None:
            found = {name: value for name, value in match.groupdict().items() if value}
            columns = [KEYS.index(key) for key in tissue_keys(_of(found))]
            amounts = classes[:, columns].sum(axis=1)
            return check(found, amounts, view, language) if columns else None
    return None


def _of(found: dict[str, str]) -> str:
    return found.get("en_of") or found.get("zh_of") or ""


def _check_half(
    found: dict[str, str], shares: _Shares, view: SlideView, language: Language
) -> Dispute | None:
    axis, is_first = _AXES[found.get("en") or found["zh"]]
    amount = shares * view.regions.num_tiles
    total = float(amount.sum())
    if total <= 0:
        return None
    share = float(amount[view.regions.geometry[:, axis] < 0].sum()) / total
    if (share if is_first else 1 - share) > 0.5 - CLOSE:
        return None
    first, second = _HALVES[language][axis]
    return Dispute(((first, share), (second, 1 - share)))


def _check_region(
    found: dict[str, str], shares: _Shares, view: SlideView, language: Language
) -> Dispute | None:
    more = int(found.get("en") or found["zh"])
    less = int(found.get("en_than") or found["zh_than"])
    if not (1 <= more <= view.num_regions and 1 <= less <= view.num_regions):
        return None
    one, other = float(shares[more - 1]), float(shares[less - 1])
    return None if one > other - CLOSE else Dispute(((f"R{more}", one), (f"R{less}", other)))


def _check_majority(
    found: dict[str, str], shares: _Shares, view: SlideView, language: Language
) -> Dispute | None:
    share = float(np.average(shares, weights=view.regions.num_tiles))
    says_more = bool(found.get("en_yes") or found.get("zh_yes"))
    agrees = share > 0.5 - CLOSE if says_more else share < 0.5 + CLOSE
    return None if agrees else Dispute(((_of(found).strip(), share),))


_Check = Callable[[dict[str, str], _Shares, SlideView, Language], Dispute | None]
_CHECKS: tuple[tuple[re.Pattern[str], _Check], ...] = (
    (_HALF, _check_half),
    (_REGION, _check_region),
    (_MAJORITY, _check_majority),
)
