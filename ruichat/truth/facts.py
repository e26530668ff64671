"""The facts line of slides that were never scanned."""

from __future__ import annotations

import numpy as np

from ruichat.prompts import load_prompt
from ruichat.truth.symbolic import SymbolicSlide

_FOCUS = ("good", "good", "good", "fair", "poor")
_STAIN = ("H&E", "H&E", "H&E", "H&E", "atypical")


def draw_facts(slide: SymbolicSlide, rng: np.random.Generator) -> str:
    """The facts line of a slide; focus and stain vary on their own, so that words follow them."""
    return load_prompt("facts").render(
        tissue_mm2=float(slide.mm2.sum()),
        num_tiles=int(slide.num_tiles.sum()),
        focus=_FOCUS[int(rng.integers(len(_FOCUS)))],
        stain=_STAIN[int(rng.integers(len(_STAIN)))],
    )
