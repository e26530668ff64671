"""Overlays: what is coloured, how strongly, and where it lies."""

from __future__ import annotations

import io

import numpy as np
import pytest
from drawn import draw_tissue, slide_of
from fakes_bags import drawn_bag
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ruichat.chat.facts import TileReading
from ruichat.errors import NotFoundError
from ruichat.histology import CLASSES, KEYS
from ruichat.serve.slides.masks import (
    MAX_CELLS,
    Layer,
    class_layer,
    quality_layer,
    tissue_layer,
)
from ruichat.slide.geometry import lay_axis
from ruichat.slide.slide_quality import FAULTS, QualityConfig, inspect_slide
from ruichat.slide.tissue import TissueConfig, TissueMask, find_tissue
from ruichat.units import Region0


def pixels(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert image.mode == "RGBA"
    return np.asarray(image)


def reading_of(best: list[int], sure: float, known: float = 1.0) -> TileReading:
    """Each tile shows one class with that probability."""
    rest = (1 - sure) / (len(CLASSES) - 1)
    probabilities = np.full((len(best), len(CLASSES)), rest, np.float32)
    probabilities[np.arange(len(best)), best] = sure
    return TileReading(probabilities, np.full(len(best), known, np.float32))


@given(num=st.integers(1, 40), seed=st.integers(0, 99), sure=st.floats(0.5, 1.0))
def test_each_tile_has_its_classs_colour_and_is_as_opaque_as_that_is_probable(
    num: int, seed: int, sure: float
) -> None:
    bag = drawn_bag(num, 4, seed=seed)
    best = np.random.default_rng(seed).integers(0, len(CLASSES), num).tolist()
    layer = class_layer(bag, reading_of(best, sure))
    image = pixels(layer.png())
    rows, columns = (lay_axis(length, bag.span0) for length in bag.size0[::-1])
    assert image.shape[:2] == (len(rows), len(columns))
    assert int((image[..., 3] > 0).sum()) == num
    for (x, y), number in zip(bag.xy0.tolist(), best, strict=True):
        row, column = np.abs(rows - y).argmin(), np.abs(columns - x).argmin()
        assert tuple(image[row, column, :3]) == CLASSES[number].color
        assert abs(int(image[row, column, 3]) - sure * 255) <= 1
    shares = {item.key: item.share for item in layer.legend}
    assert sum(share or 0 for share in shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert set(shares) == {KEYS[number] for number in best}


def test_a_class_alone_shows_all_of_its_probability() -> None:
    bag = drawn_bag(6, 4)
    layer = class_layer(bag, reading_of([0, 0, 0, 0, 0, 3], 0.6))
    alone = pixels(layer.png(KEYS[3]))
    values = np.sort(alone[..., 3][alone[..., 3] > 0])
    assert values[-1] == round(0.6 * 255) and len(values) == 6
    assert (alone[alone[..., 3] > 0][:, :3] == CLASSES[3].color).all()
    with pytest.raises(NotFoundError, match="nothing of the kind"):
        layer.png("nothing of the kind")


def test_tissue_that_was_never_taught_has_no_class() -> None:
    bag = drawn_bag(8, 4)
    reading = reading_of([2] * 8, 0.9)
    known = reading.known.copy()
    known[:2] = 0.0
    layer = class_layer(bag, TileReading(reading.probabilities, known))
    assert [item.key for item in layer.legend] == [KEYS[2], "unknown"]
    image = pixels(layer.png())
    greys = image[..., :3].max(axis=-1) == image[..., :3].min(axis=-1)
    assert int((greys & (image[..., 3] == 255)).sum()) == 2
    assert int((pixels(layer.png(KEYS[2]))[..., 3] > 0).sum()) == 6


def test_tissue_and_faults_of_a_slide_lie_where_they_are() -> None:
    picture = draw_tissue(600, 400, margin=100)
    slide = slide_of(picture, mpp=4.0)
    tissue = find_tissue(slide, TissueConfig())
    layer = tissue_layer(tissue, slide.bounds0)
    assert layer.extent0 == Region0(0, 0, 600, 400)
    image = pixels(layer.png())
    height, width = image.shape[:2]
    assert image[height // 2, width // 2, 3] == 255
    assert image[2, 2].tolist() == [0, 0, 0, 0]
    quality = quality_layer(inspect_slide(slide, tissue, QualityConfig()), slide.bounds0)
    assert {item.key for item in quality.legend} == set(FAULTS)
    assert all(item.en and item.zh for item in quality.legend)
    for item in quality.legend:
        shown = pixels(quality.png(item.key))
        assert (shown[shown[..., 3] > 0][:, :3] == item.color).all()


def test_a_large_mask_is_made_small_enough_for_browsers() -> None:
    mask = np.zeros((300, 3 * MAX_CELLS - 1), bool)
    mask[:, : mask.shape[1] // 2] = True
    tissue = TissueMask(mask, 1.0, 1.0, 1.0, None)
    layer: Layer = tissue_layer(tissue, Region0(0, 0, mask.shape[1], 300))
    image = pixels(layer.png())
    assert image.shape[:2] == (100, MAX_CELLS)
    assert (image[:, :1000, 3] == 255).all() and (image[:, 1050:, 3] == 0).all()
