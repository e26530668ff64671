"""Necrosis can't be taken for another class in the overlay, whoever looks."""

from __future__ import annotations

import numpy as np
import pytest
from colours import SIGHTS, difference, lab

from ruichat.chat.geojson import UNCLASSIFIED_COLOR
from ruichat.histology import BY_KEY, CLASSES
from ruichat.serve.slides.masks import UNKNOWN_COLOR

CLEAR = 15.0
"""CIEDE2000 at which areas side by side are told apart at a glance; ours."""


@pytest.mark.parametrize("sight", SIGHTS)
def test_necrosis_has_a_colour_of_its_own(sight: str) -> None:
    others = {item.key: item.color for item in CLASSES if item.key != "necrosis"}
    others |= {
        "unknown": UNKNOWN_COLOR,
        "unclassified": UNCLASSIFIED_COLOR,
        "bare glass": (255, 255, 255),
    }
    mine = lab(BY_KEY["necrosis"].color, sight)
    found = {key: difference(mine, lab(color, sight)) for key, color in others.items()}
    assert min(found.values()) > CLEAR, min(found, key=lambda key: found[key])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((50, -1, 2), (50, 0, 0), 2.3669),
        ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ],
)
def test_differences_are_those_that_were_published(one, other, expected) -> None:
    """Sharma, Wu and Dalal 2005, table 1."""
    assert difference(np.array(one), np.array(other)) == pytest.approx(expected, abs=1e-4)
