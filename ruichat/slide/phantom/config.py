"""What a phantom shows: settings, class names, nucleus kinds and artefact kinds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ruichat.config import Config
from ruichat.histology import KEYS

PhantomClass = Literal[
    "carcinoma_nests",
    "carcinoma_glands",
    "normal_glands",
    "stroma",
    "lymphoid_tissue",
    "fat",
    "necrosis",
    "mucus",
]
Artefact = Literal["pen", "fold", "blur", "bubble", "stain_shift"]

PHANTOM_CLASSES: tuple[PhantomClass, ...] = (
    "carcinoma_nests",
    "carcinoma_glands",
    "normal_glands",
    "stroma",
    "lymphoid_tissue",
    "fat",
    "necrosis",
    "mucus",
)
"""Tissue classes that can be drawn, by key; `Phantom.classes` holds their index in CLASSES."""

CLASS_INDEX: dict[str, int] = {key: KEYS.index(key) for key in PHANTOM_CLASSES}
NO_TISSUE = 255
"""Value of `Phantom.classes` where the glass is bare."""

ALL_ARTEFACTS: tuple[Artefact, ...] = ("pen", "fold", "blur", "bubble", "stain_shift")
"""Bit i of `Phantom.artefacts` marks pixels touched by artefact i of this tuple."""

NUCLEUS_KINDS: tuple[str, ...] = (
    "epithelial",
    "tumour",
    "mitosis",
    "lymphocyte",
    "stromal",
    "ghost",
    "debris",
)
"""`Nuclei.kind` indexes into this tuple."""


def equal_mix() -> dict[PhantomClass, float]:
    """All eight classes, in equal parts."""
    return dict.fromkeys(PHANTOM_CLASSES, 1.0)


class PhantomConfig(Config):
    """One drawn slide; the same settings always give the same pixels."""

    seed: int = Field(0, ge=0)
    width0: int = Field(4096, ge=64, le=32768)
    height0: int = Field(3072, ge=64, le=32768)
    mpp: float = Field(default=0.5, ge=0.2, le=2.0)
    """Micrometres per pixel of level 0."""
    mix: dict[PhantomClass, float] = Field(default_factory=equal_mix)
    """Wanted share of tissue area by class. Classes left out never appear, except stroma: what
    lies far from any gland of a glandular region is called stroma."""
    region_mm: float = Field(default=0.45, gt=0.05, le=3.0)
    """Typical diameter of a region of one class, in mm."""
    fill: bool = False
    """Tissue covers the whole field, as training crops need; otherwise it has an outline."""
    randomise: bool = True
    """Vary stain, sizes, chromatin, blur, noise and brightness with the seed."""
    artefacts: tuple[Artefact, ...] = ()
    """Kinds of artefact to add, each at least once; ALL_ARTEFACTS for every kind."""

    @model_validator(mode="after")
    def _check_mix(self) -> PhantomConfig:
        if any(share < 0 for share in self.mix.values()) or sum(self.mix.values()) <= 0:
            raise ValueError("mix needs shares of at least 0, and one above 0")
        return self
