"""Facts measured from a slide, as prompt text and as the numbers that answers quote."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy.typing import NDArray

from ruichat.errors import InputError
from ruichat.histology import BY_KEY, CLASSES, KEYS, MALIGNANT, Language
from ruichat.prompts import Prompt, load_prompt
from ruichat.slide.tissue import PLAUSIBLE_STAIN

if TYPE_CHECKING:
    from ruichat.features.bag import FeatureBag

Grade = Literal["good", "fair", "poor"]
Stain = Literal["H&E", "atypical"]

TUMOUR_PROBABILITY = 0.5
"""A tile counts as tumour from this malignant probability on: more likely than not."""

KNOWN_SCORE = 0.05
"""A tile is familiar from this score on. The score is a p-value (see features.tile_classifier), so
one in twenty tiles of known tissue fails by chance."""

LEAST_KNOWN = 0.01
"""A tile below this score is left out: blurred, inked, folded or of unknown tissue, it would be
called whatever is nearest. One in a hundred tiles of known tissue is lost by chance."""

LISTED_SHARE = 0.02
"""Classes that lead less of the tissue stay out of the prompt: stray tiles, more often than not."""

MOST_LISTED = 8
"""Classes in the prompt at most."""

_MALIGNANT_COLUMNS = np.array([key in MALIGNANT for key in KEYS])


@dataclass(frozen=True, slots=True)
class Share:
    """A tissue class and the fraction (0-1) of tissue tiles it leads."""

    key: str
    fraction: float


@dataclass(frozen=True)
class SlideFacts:
    """What was measured, not guessed, about one slide.

    Attributes:
        tissue_mm2: area of the tissue mask, mm².
        num_tiles: tiles of tissue, read or left out.
        num_regions: named regions the slide was split into.
        mpp: micrometres per pixel of level 0, as used.
        composition: every class that leads at least one tile read, largest first; sums to 1.
            Empty where no tile classifier reads the tiles, as the next is None.
        tumour_fraction: share of tiles read whose malignant probability is at least one half.
        focus: sharpness of the slide, 0-1, median over tiles.
        focus_grade: `focus` in words.
        stain: whether the colours are those of haematoxylin and eosin.
        known_fraction: share of tiles that look like what the model was trained on; None where
            no tile classifier can tell.
        left_out_fraction: share of tiles that look so unlike it that they weren't read.
        warnings: what the reader of the slide should know.
    """

    tissue_mm2: float
    num_tiles: int
    num_regions: int
    mpp: float
    composition: tuple[Share, ...]
    tumour_fraction: float | None
    focus: float
    focus_grade: Grade
    stain: Stain
    known_fraction: float | None
    warnings: tuple[str, ...] = ()
    left_out_fraction: float = 0.0

    def __post_init__(self) -> None:
        fractions = [share.fraction for share in self.composition]
        values = (*fractions, self.tumour_fraction or 0.0, self.known_fraction or 0.0)
        if not all(math.isfinite(v) and -1e-6 <= v <= 1 + 1e-6 for v in values):
            raise InputError("a measured share lies outside 0 to 1", hint="Extract the slide again")
        if self.num_tiles < 1 or self.num_regions < 1 or not self.tissue_mm2 > 0:
            raise InputError(
                f"slide has {self.num_tiles} tissue tiles and {self.tissue_mm2:.3g} mm2 of tissue",
                hint="Give a slide that shows tissue",
            )

    def fraction(self, key: str) -> float:
        """Share (0-1) of tissue tiles led by the class of that key."""
        return next((share.fraction for share in self.composition if share.key == key), 0.0)

    @property
    def is_classified(self) -> bool:
        """Whether a tile classifier read the tiles, so that there is a composition."""
        return self.tumour_fraction is not None

    @property
    def tumour_mm2(self) -> float | None:
        """Tumour area, mm²: the tumour share of the tissue area; None where that is unknown."""
        return None if self.tumour_fraction is None else self.tumour_fraction * self.tissue_mm2

    def to_json(self) -> dict[str, object]:
        """Plain numbers for the answer object; fractions rounded to four places."""
        return {
            "tissue_mm2": round(self.tissue_mm2, 4),
            "num_tiles": self.num_tiles,
            "num_regions": self.num_regions,
            "mpp": self.mpp,
            "composition": {s.key: round(s.fraction, 4) for s in self.composition},
            "tumour_fraction": _rounded(self.tumour_fraction),
            "tumour_mm2": _rounded(self.tumour_mm2),
            "focus": round(self.focus, 4),
            "focus_grade": self.focus_grade,
            "stain": self.stain,
            "known_fraction": _rounded(self.known_fraction),
            "left_out_fraction": round(self.left_out_fraction, 4),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class TileReading:
    """What a tile classifier makes of a slide's tiles.

    Attributes:
        probabilities: class probabilities per tile, over `histology.CLASSES`.
        known: how typical each tile is of the training data, 0-1.
    """

    probabilities: Float32[NDArray[np.float32], "n c"]
    known: Float32[NDArray[np.float32], " n"]

    def check_fits(self, num_tiles: int) -> None:
        """Refuse what isn't about that many tiles.

        Raises:
            InputError: the arrays don't fit.
        """
        shapes = self.probabilities.shape, self.known.shape
        if shapes != ((num_tiles, len(CLASSES)), (num_tiles,)):
            raise InputError(
                f"classifier output {shapes[0]} and {shapes[1]} doesn't fit "
                f"{num_tiles} tiles and {len(CLASSES)} classes"
            )


def measure_facts(bag: FeatureBag, *, num_regions: int, reading: TileReading | None) -> SlideFacts:
    """Measure a slide from its tiles.

    Args:
        bag: the slide's tiles.
        num_regions: regions the slide was split into.
        reading: of the tile classifier; None where there is none for these embeddings.

    Raises:
        InputError: the reading doesn't fit the bag.
    """
    num_tiles = len(bag.xy0)
    composition: tuple[Share, ...] = ()
    tumour = known = None
    left_out = 0.0
    if reading is not None:
        reading.check_fits(num_tiles)
        read = tiles_to_read(reading.known)
        seen = reading.probabilities[read]
        composition = shares(np.bincount(seen.argmax(axis=1), minlength=len(CLASSES)))
        tumour = float(np.mean(malignant_probability(seen) >= TUMOUR_PROBABILITY))
        known = float(np.mean(reading.known >= KNOWN_SCORE))
        left_out = 1 - float(np.mean(read))
    measured = bag.focus[np.isfinite(bag.focus)]
    focus = float(np.median(measured)) if len(measured) else math.nan
    return SlideFacts(
        tissue_mm2=bag.tissue_area_mm2,
        num_tiles=num_tiles,
        num_regions=num_regions,
        mpp=bag.base_mpp,
        composition=composition,
        tumour_fraction=tumour,
        focus=focus,
        focus_grade=grade_focus(focus),
        stain=judge_stain(bag.he_share),
        known_fraction=known,
        warnings=bag.warnings,
        left_out_fraction=left_out,
    )


def tiles_to_read(known: Float32[NDArray[np.float32], " n"]) -> Bool[NDArray[np.bool_], " n"]:
    """Which tiles the model is shown, from how typical each is; all where none is typical."""
    read = known >= LEAST_KNOWN
    return read if read.any() else np.ones_like(read)


def shares(counts: Int64[NDArray[np.int64], " c"]) -> tuple[Share, ...]:
    """Class shares, largest first, from the number of tiles each class leads, [c]."""
    total = int(counts.sum())
    order = np.argsort(-counts, kind="stable")
    return tuple(Share(KEYS[i], float(counts[i]) / total) for i in order if counts[i] > 0)


def malignant_probability(
    probabilities: Float32[NDArray[np.float32], "n c"],
) -> Float32[NDArray[np.float32], " n"]:
    """Sum over the malignant classes, [n, c] to [n]."""
    return probabilities[:, _MALIGNANT_COLUMNS].sum(axis=1)


def grade_focus(focus: float) -> Grade:
    """Sharpness in words: from 0.6 on good, from 0.3 on fair, in the units of slide.quality."""
    return "good" if focus >= 0.6 else "fair" if focus >= 0.3 else "poor"


def judge_stain(he_share: float) -> Stain:
    """Whether the tissue has the colours of H&E, from the share (0-1) of it that does."""
    return "H&E" if he_share >= PLAUSIBLE_STAIN else "atypical"


def facts_prompt() -> Prompt:
    """The prompt that words the facts; its version is recorded with every answer."""
    return load_prompt("facts")


def facts_text(facts: SlideFacts) -> str:
    """The facts as one line of prompt, the same for questions in either language.

    The prefix of a slide is computed once, before any question, so it can't depend on the
    question's language.
    """
    return render_facts(
        facts.tissue_mm2, facts.num_tiles, facts.focus_grade, facts.stain, facts.composition
    )


def render_facts(
    tissue_mm2: float,
    num_tiles: int,
    focus: Grade,
    stain: Stain,
    composition: tuple[Share, ...],
) -> str:
    """One line of prompt; see `SlideFacts` for the values. Small shares are left out."""
    listed = [share for share in composition if share.fraction >= LISTED_SHARE][:MOST_LISTED]
    return facts_prompt().render(
        tissue_mm2=tissue_mm2,
        num_tiles=num_tiles,
        focus=focus,
        stain=stain,
        composition=[(BY_KEY[s.key].en, percent(s.fraction)) for s in listed],
    )


def percent(fraction: float) -> int:
    """Whole percent; what is present but under one percent counts as one, never as none."""
    return max(1, round(100 * fraction)) if fraction > 0 else 0


_FOCUS_WORDS: Mapping[Language, Mapping[Grade, str]] = {
    "en": {"good": "good", "fair": "fair", "poor": "poor"},
    "zh": {"good": "清晰", "fair": "尚可", "poor": "模糊"},
}
_UNMEASURED: Mapping[Language, str] = {"en": "(not measured)", "zh": "（未测量）"}
_BY_CLASSIFIER = ("{tumour_percent}", "{tumour_mm2}", "{necrosis_percent}", "{lymphoid_percent}")
_STAIN_WORDS: Mapping[Language, Mapping[Stain, str]] = {
    "en": {"H&E": "H&E", "atypical": "not typical of H&E"},
    "zh": {"H&E": "HE染色", "atypical": "不符合典型HE染色"},
}


def fact_values(facts: SlideFacts, language: Language) -> dict[str, str]:
    """What each fact piece becomes in an answer, unit included: "{tumour_percent}" -> "34%".

    What wasn't measured is said to be so.
    """
    values = dict.fromkeys(_BY_CLASSIFIER, _UNMEASURED[language]) | {
        "{tissue_mm2}": _area(facts.tissue_mm2),
        "{num_tiles}": str(facts.num_tiles),
        "{num_regions}": str(facts.num_regions),
        "{focus}": _FOCUS_WORDS[language][facts.focus_grade],
        "{stain}": _STAIN_WORDS[language][facts.stain],
        "{mpp}": f"{facts.mpp:.3g} µm/px",
    }
    if facts.tumour_fraction is None or facts.tumour_mm2 is None:
        return values
    return values | {
        "{tumour_percent}": f"{percent(facts.tumour_fraction)}%",
        "{tumour_mm2}": _area(facts.tumour_mm2),
        "{necrosis_percent}": f"{percent(facts.fraction('necrosis'))}%",
        "{lymphoid_percent}": f"{percent(facts.fraction('lymphoid_tissue'))}%",
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _area(area_mm2: float) -> str:
    """Two significant digits below ten, as no mask is more exact; whole mm² above."""
    return f"{area_mm2:.2g} mm²" if area_mm2 < 10 else f"{area_mm2:.0f} mm²"
