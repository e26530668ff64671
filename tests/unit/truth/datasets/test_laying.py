from __future__ import annotations

import numpy as np
from fakes_bags import drawn_bag
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.truth.datasets.dialogue import Box, Dialogue, Turn
from ruichat.truth.datasets.laying import lay

TURNS = (Turn(role="user", text="?"), Turn(role="assistant", text="!"))


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=3),
    st.integers(4, 12),
    st.booleans(),
    st.integers(0, 9),
)
def test_tiles_and_boxes_follow_the_regions(
    sizes: list[int], most: int, boxed: bool, seed: int
) -> None:
    bags = [drawn_bag(size, 3, seed=seed + at) for at, size in enumerate(sizes)]
    corner = bags[0].xy0[0]
    box = Box(slide=0, x=int(corner[0]), y=int(corner[1]), width=400, height=300)
    dialogue = Dialogue(
        id="a",
        slides=tuple(f"S{at}" for at in range(len(bags))),
        regions=(box,) if boxed else (),
        turns=TURNS,
    )
    laid = lay(dialogue, bags, most)
    every = np.concatenate([bag.embeddings for bag in bags])
    centre = np.concatenate([bag.xy0 + bag.span0 // 2 for bag in bags])
    assert len(laid.boxes) == laid.num_regions == laid.region.max() + 1
    assert len(set(laid.tile.tolist())) == len(laid.tile)
    np.testing.assert_array_equal(laid.embeddings, every[laid.tile])
    for region, (x, y) in zip(laid.region, centre[laid.tile], strict=True):
        here = laid.boxes[region]
        assert here.x <= x < here.x + here.width and here.y <= y < here.y + here.height
    if boxed:
        assert (laid.boxes[0].x, laid.boxes[0].width) == (box.x, box.width)
