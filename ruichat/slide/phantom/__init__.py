"""Drawn H&E slides with exact truth, for tests, the demo and training."""

from ruichat.slide.phantom.config import (
    ALL_ARTEFACTS,
    CLASS_INDEX,
    NO_TISSUE,
    NUCLEUS_KINDS,
    PHANTOM_CLASSES,
    PhantomConfig,
)
from ruichat.slide.phantom.draw import NucleusTruth, Phantom, draw_phantom
from ruichat.slide.phantom.write import write_phantom

__all__ = [
    "ALL_ARTEFACTS",
    "CLASS_INDEX",
    "NO_TISSUE",
    "NUCLEUS_KINDS",
    "PHANTOM_CLASSES",
    "NucleusTruth",
    "Phantom",
    "PhantomConfig",
    "draw_phantom",
    "write_phantom",
]
