"""Small slides drawn in code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from drawn import draw_tissue, write_pyramid


@pytest.fixture
def tissue_tiff(tmp_path: Path) -> Path:
    """700 x 520 px of tissue with a white margin at 0.5 um/px, three levels."""
    return write_pyramid(tmp_path / "tissue.tif", draw_tissue(700, 520, margin=60), mpp=0.5)


@pytest.fixture
def make_tiff(tmp_path: Path) -> Callable[..., Path]:
    """Writes a drawn slide of a given size and resolution."""

    def make(width: int = 512, height: int = 512, *, mpp: float | None = 0.5) -> Path:
        return write_pyramid(tmp_path / "made.tif", draw_tissue(width, height), mpp=mpp)

    return make
