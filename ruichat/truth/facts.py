"""The facts line of slides that were never scanned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ruichat.chat.facts import Grade, Share, Stain, render_facts
from ruichat.histology import KEYS
from ruichat.truth.symbolic import NUM_CLASSES, SymbolicSlide

_FOCUS: tuple[Grade, ...] = ("good", "good", "good", "fair", "poor")
_STAIN: tuple[Stain, ...] = ("H&E", "H&E", "H&E", "H&E", "atypical")

UNKNOWN_SHARE = 0.15
"""Share of slides whose composition is withheld in training: regions have to be read anyway."""

MOST_MISREAD = 0.3
"""Share of the tissue that is misread at worst, in training."""


def draw_facts(
    slide: SymbolicSlide,
    rng: np.random.Generator,
    composition: tuple[Share, ...] | None = None,
) -> str:
    """The facts line of a slide; focus and stain vary on their own, so that words follow them.

    Args:
        slide: what the slide holds.
        rng: all choices come from it.
        composition: as a classifier measured it; drawn, with errors, by default.
    """
    focus = _FOCUS[int(rng.integers(len(_FOCUS)))]
    stain = _STAIN[int(rng.integers(len(_STAIN)))]
    if composition is None:
        composition = misread(slide, rng)
    return render_facts(
        float(slide.mm2.sum()), int(slide.num_tiles.sum()), focus, stain, composition
    )


def misread(slide: SymbolicSlide, rng: np.random.Generator) -> tuple[Share, ...]:
    """The composition as a fallible classifier would give it, largest first; at times nothing.

    Part of the tissue is taken for one or two other classes, so the model learns that a small
    share in the facts needs a region to stand for it.
    """
    if rng.random() < UNKNOWN_SHARE:
        return ()
    share: NDArray[np.float64] = slide.composition * np.exp(rng.normal(0, 0.1, NUM_CLASSES))
    share /= share.sum()
    wrong = MOST_MISREAD * rng.random() ** 3
    share *= 1 - wrong
    taken_for = rng.integers(NUM_CLASSES, size=2)
    np.add.at(share, taken_for, wrong * rng.dirichlet((1.0, 0.5)))
    share /= share.sum()
    order = np.argsort(-share, kind="stable")
    return tuple(Share(KEYS[i], float(share[i])) for i in order if share[i] > 0)
