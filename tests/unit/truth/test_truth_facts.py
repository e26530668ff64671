"""The facts line of drawn slides: as measured, or with the errors of a fallible classifier."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruichat.chat.facts import LISTED_SHARE, MOST_LISTED, Share
from ruichat.histology import BY_KEY, KEYS
from ruichat.truth.facts import MOST_MISREAD, UNKNOWN_SHARE, draw_facts, misread
from ruichat.truth.symbolic import SymbolicSlide, draw_symbolic_slide

UNKNOWN = "composition unknown"


def slide_of(seed: int = 0) -> SymbolicSlide:
    return draw_symbolic_slide(np.random.default_rng(seed))


def measured(*fractions: float) -> tuple[Share, ...]:
    return tuple(Share(key, f) for key, f in zip(KEYS, fractions, strict=False))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_misread_composition_is_still_one(seed: int) -> None:
    shares = misread(slide_of(seed), np.random.default_rng(seed))
    if not shares:
        return
    fractions = [share.fraction for share in shares]
    assert sum(fractions) == pytest.approx(1)
    assert min(fractions) > 0
    assert fractions == sorted(fractions, reverse=True)
    assert len({share.key for share in shares}) == len(shares)


def test_most_of_the_tissue_is_read_rightly() -> None:
    for seed in range(60):
        slide = slide_of(seed)
        shares = misread(slide, np.random.default_rng(seed))
        wrong = sum(s.fraction for s in shares if slide.composition[KEYS.index(s.key)] == 0)
        assert wrong <= MOST_MISREAD + 1e-9
        read = {share.key: share.fraction for share in shares}
        for i in np.flatnonzero(slide.composition) if shares else ():
            # Lognormal noise of 0.1 on top of what was taken for something else.
            assert read[KEYS[i]] > slide.composition[i] * (1 - MOST_MISREAD) * 0.5


def test_errors_are_made_and_at_times_nothing_is_known() -> None:
    slide = slide_of()
    drawn = [misread(slide, np.random.default_rng(seed)) for seed in range(400)]
    unknown = sum(not shares for shares in drawn) / len(drawn)
    assert abs(unknown - UNKNOWN_SHARE) < 0.07
    true = {key for key, share in zip(KEYS, slide.composition, strict=True) if share > 0}
    invented = [{share.key for share in shares} - true for shares in drawn if shares]
    assert sum(map(bool, invented)) > 0.5 * len(invented)


def test_the_same_seed_draws_the_same() -> None:
    slide = slide_of()
    lines = [draw_facts(slide, np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4)]
    assert lines[0] == lines[1]
    assert len(set(lines)) > 1


def test_the_line_says_what_the_slide_measures() -> None:
    slide = slide_of()
    line = draw_facts(slide, np.random.default_rng(0))
    assert line.startswith(f"{slide.mm2.sum():.1f} mm2; {slide.num_tiles.sum()} tiles; ")


def test_a_measured_composition_is_told_as_it_is() -> None:
    given_shares = measured(0.7, 0.25, 0.05)
    for seed in range(20):
        line = draw_facts(slide_of(seed), np.random.default_rng(seed), given_shares)
        told = [(BY_KEY[share.key].en, share.fraction) for share in given_shares]
        assert line.endswith("; " + ", ".join(f"{name} {100 * f:.0f}%" for name, f in told))


def test_nothing_measured_is_told_as_unknown() -> None:
    for seed in range(10):
        assert draw_facts(slide_of(), np.random.default_rng(seed), ()).endswith(UNKNOWN)


def test_small_shares_stay_out_of_the_line() -> None:
    line = draw_facts(slide_of(), np.random.default_rng(0), measured(0.97, LISTED_SHARE, 0.01))
    assert BY_KEY[KEYS[1]].en in line
    assert BY_KEY[KEYS[2]].en not in line
    many = measured(*[0.125] * 8)
    assert len(re.findall("%", draw_facts(slide_of(), np.random.default_rng(0), many))) == (
        MOST_LISTED
    )


def test_focus_and_stain_vary_apart_from_each_other() -> None:
    slide = slide_of()
    lines = [draw_facts(slide, np.random.default_rng(seed)) for seed in range(200)]
    found = [re.search(r"focus (\w+); stain ([^;]+);", line) for line in lines]
    pairs = {match.groups() for match in found if match}
    assert pairs == {(f, s) for f in ("good", "fair", "poor") for s in ("H&E", "atypical")}
