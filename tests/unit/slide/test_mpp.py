"""Whose resolution counts, and what is said when nobody gives one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruichat.errors import InputError, MissingMppError
from ruichat.slide.mpp import MAX_MPP, MIN_MPP, choose_mpp

good = st.floats(MIN_MPP, MAX_MPP)


@given(file=good, user=st.none() | good)
def test_a_plausible_file_always_wins(file: float, user: float | None) -> None:
    choice = choose_mpp(file, user)
    assert (choice.value, choice.source) == (file, "file")
    assert (choice.warning is not None) == (user is not None and abs(user / file - 1) > 0.05)


@given(file=st.none() | st.floats(MAX_MPP, 1e6, exclude_min=True) | st.just(math.nan), user=good)
def test_the_user_counts_where_the_file_is_silent_or_implausible(
    file: float | None, user: float
) -> None:
    choice = choose_mpp(file, user)
    assert (choice.value, choice.source) == (user, "user")
    assert (choice.warning is None) == (file is None)


@pytest.mark.parametrize("file", [None, 28.97, 352.8, 0.001, math.nan, math.inf])
def test_without_a_plausible_value_the_error_says_how_to_give_one(file: float | None) -> None:
    with pytest.raises(MissingMppError) as caught:
        choose_mpp(file, None)
    assert "--mpp 0.25" in caught.value.hint
    assert caught.value.exit_code == 4


def test_an_overview_is_named_as_such() -> None:
    with pytest.raises(MissingMppError, match=r"28\.97.*overview") as caught:
        choose_mpp(28.97, None)
    assert "full-resolution" in caught.value.hint


def test_the_objective_is_a_hint_and_never_a_value() -> None:
    with pytest.raises(MissingMppError) as caught:
        choose_mpp(None, None, objective=20.0)
    assert "--mpp 0.5" in caught.value.hint


@pytest.mark.parametrize("user", [0.0, -1.0, 11.0, math.nan])
def test_an_implausible_user_value_is_refused_even_if_not_needed(user: float) -> None:
    with pytest.raises(InputError, match="not a resolution"):
        choose_mpp(0.25, user)
