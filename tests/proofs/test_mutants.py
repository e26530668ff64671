"""Many slides with bytes changed at random: no crash, no hang, no error without a remedy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from mutants import FORMS, try_mutant

NUM = 1_500
MAX_S = 10.0

ENDINGS = {"opened", "InputError", "UnsuitableSlideError", "PrerequisiteError", "MissingMppError"}


@pytest.mark.proof
def test_mutants_open_or_end_in_one_typed_error_within_ten_seconds(tmp_path: Path) -> None:
    endings: Counter[tuple[str, str]] = Counter()
    slow: list[int] = []
    for number in range(NUM):
        folder = tmp_path / str(number)
        folder.mkdir()
        ending = try_mutant(number, folder)
        endings[ending.form, ending.outcome] += 1
        # A busy machine can be slow once.
        if ending.seconds > MAX_S and try_mutant(number, folder).seconds > MAX_S:
            slow.append(number)
    assert not slow
    assert {outcome for _, outcome in endings} <= ENDINGS
    assert {form for form, outcome in endings if outcome == "InputError"} == set(FORMS)
