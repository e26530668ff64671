"""Sound slides with bytes changed at random: they open, or end in one typed error, and soon."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from mutants import FORMS, mutate, try_mutant

MAX_S = 10.0


@pytest.mark.parametrize("number", range(24))
def test_a_mutant_opens_or_ends_in_one_typed_error(number: int, tmp_path: Path) -> None:
    assert try_mutant(number, tmp_path).seconds < MAX_S


@pytest.mark.parametrize("form", FORMS)
def test_mutants_are_made_of_slides_that_open(form: str, tmp_path: Path) -> None:
    path = FORMS[form](tmp_path)
    sound = path.read_bytes()
    assert try_mutant(0, tmp_path, form=form, change=lambda data, _: data).outcome == "opened"
    changed = [mutate(sound, random.Random(number)) for number in range(40)]
    assert changed == [mutate(sound, random.Random(number)) for number in range(40)]
    assert sum(data != sound for data in changed) > 35
