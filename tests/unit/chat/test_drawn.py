"""A drawn region is refused or read at the same memory, however large it is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from fakes_bags import drawn_bag
from fakes_chat import make_backend, make_view, scripted, write_two_halves

from ruichat.chat.drawn import read_drawn
from ruichat.chat.outline import Outline0
from ruichat.chat.reading import ReadSlide
from ruichat.errors import InputError
from ruichat.features.bag import FeatureBag
from ruichat.slide.opening import open_slide
from ruichat.slide.slide import Slide
from ruichat.units import Region0


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slide]:
    """Gives the pixels."""
    with open_slide(write_two_halves(tmp_path_factory.mktemp("slides") / "a.tif")) as slide:
        yield slide


def read_of(bag: FeatureBag, width0: int, slide: Slide) -> ReadSlide:
    view = make_view()
    record = replace(view.record, width0=width0, height0=bag.size0[1])
    backend = make_backend("Yes.")
    return ReadSlide(replace(view, record=record), bag, None, scripted("Yes."), backend, slide)


def test_a_large_region_on_glass_is_refused_at_little_memory(slide: Slide) -> None:
    bag = drawn_bag(3000, 3)
    width, height = bag.size0
    glass = Outline0.rectangle(Region0(width + 224, 0, 40 * 224, 40 * 224))
    assert height > 40 * 224
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="no tissue"):
            read_drawn(read_of(bag, 2 * width, slide), glass)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_tiles_of_its_own_lie_by_half_or_more_in_those_of_the_slide(slide: Slide) -> None:
    corners = np.array([[448, 448], [672, 448], [0, 2240], [2240, 0]])
    bag = replace(drawn_bag(4, 3), xy0=corners, tile_px=224)
    drawn = read_drawn(read_of(bag, 1800, slide), Outline0.rectangle(Region0(448, 448, 448, 224)))
    assert drawn.bag.xy0.tolist() == [[448, 448], [560, 448], [672, 448]]
    assert drawn.bag.tissue_area_mm2 == pytest.approx(448 * 224 * 0.25e-6)
    drawn = read_drawn(read_of(bag, 1800, slide), Outline0.rectangle(Region0(560, 448, 672, 224)))
    assert drawn.bag.xy0.tolist() == [[560, 448], [672, 448], [784, 448]]
    assert drawn.bag.tissue_area_mm2 == pytest.approx(672 * 224 * 0.25e-6 * 3 / 5)


def test_an_outline_that_winds_between_the_tiles_is_refused(slide: Slide) -> None:
    side, step = 60, 224
    places = np.arange(side) * step
    corners = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    bag = replace(drawn_bag(side * side, 3), xy0=corners, tile_px=224, size0=(side * step,) * 2)
    # A comb: its teeth hold no centre of a tile, but those of tiles that lie half a side further.
    comb = [(0.0, 0.0), (float(side * step), 0.0)]
    for x in reversed(range(step, side * step, step)):
        comb += [(x + 20.0, 20.0), (x + 20.0, 13_000.0), (x - 20.0, 13_000.0), (x - 20.0, 20.0)]
    comb.append((0.0, 20.0))
    with pytest.raises(InputError, match="winds between"):
        read_drawn(read_of(bag, side * step, slide), Outline0(tuple(comb)))
