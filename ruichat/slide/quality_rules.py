"""Whether a slide is good enough: limits, and by how much each is kept or missed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ruichat.config import Config

if TYPE_CHECKING:
    from ruichat.slide.slide_quality import SlideQuality

Sense = Literal["at most", "at least"]


class QualityRules(Config):
    """Limits of a slide that is fit to be read; the field's name is the rule's.

    All are ours: set so that every H&E slide and tile set at hand passes. They are no standard.
    """

    min_tissue_mm2: float = Field(default=0.05, ge=0)
    """Area of the tissue, mm²: about four tiles of 112 µm."""
    max_blur_um: float = Field(default=1.4, gt=0)
    """Blur of the middle of the tissue, standard deviation in micrometres."""
    max_blur: float = Field(default=0.25, ge=0, le=1)
    """Share of the tissue out of focus."""
    max_pen: float = Field(default=0.10, ge=0, le=1)
    """Share of the tissue under pen marks."""
    max_fold: float = Field(default=0.15, ge=0, le=1)
    """Share of the tissue in folds; layered keratin looks like them and counts."""
    max_bubble: float = Field(default=0.10, ge=0, le=1)
    """Share of the tissue under air bubbles."""
    max_border: float = Field(default=0.05, ge=0, le=1)
    """Share of the tissue hidden by black borders."""
    min_he: float = Field(default=0.5, ge=0, le=1)
    """Share of the tissue in colours of H&E."""
    min_stain_od: float = Field(default=0.07, ge=0)
    """Mean optical density of both stains: paler is understained."""
    max_stain_od: float = Field(default=0.9, ge=0)
    """Mean optical density of both stains: darker is overstained."""
    min_hematoxylin: float = Field(default=0.10, ge=0, le=1)
    """Hematoxylin's part of both stains. Eosin's has no limit: bluish H&E shows hardly any."""


@dataclass(frozen=True)
class RuleResult:
    """One rule, applied.

    Attributes:
        rule: name of the field of `QualityRules`.
        value: what was found, in the rule's unit; NaN where it couldn't be measured.
        limit: what the rule allows.
        sense: whether that is the most or the least allowed.
    """

    rule: str
    value: float
    limit: float
    sense: Sense

    @property
    def excess(self) -> float:
        """By how much the rule is missed; negative or 0 where it is kept."""
        return self.value - self.limit if self.sense == "at most" else self.limit - self.value

    @property
    def passed(self) -> bool:
        """Whether the rule is kept; what couldn't be measured doesn't break it."""
        return math.isnan(self.value) or self.excess <= 0


def apply_rules(
    quality: SlideQuality, tissue_mm2: float, rules: QualityRules
) -> tuple[RuleResult, ...]:
    """Apply every rule to what was found, in the order of the fields."""
    values = {
        "min_tissue_mm2": tissue_mm2,
        "max_blur_um": quality.blur_um,
        "max_blur": quality.finding("blur").share,
        "max_pen": quality.finding("pen").share,
        "max_fold": quality.finding("fold").share,
        "max_bubble": quality.finding("bubble").share,
        "max_border": quality.finding("border").share,
        "min_he": quality.he_share,
        "min_stain_od": quality.stain_od,
        "max_stain_od": quality.stain_od,
        "min_hematoxylin": quality.hematoxylin_share,
    }
    return tuple(
        RuleResult(
            name,
            values[name],
            float(getattr(rules, name)),
            "at most" if name.startswith("max_") else "at least",
        )
        for name in QualityRules.model_fields
    )
