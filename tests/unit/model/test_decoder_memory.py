"""Prompts of ever other lengths: kernels are made for each, and must not all be kept."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from processes import memory_mb

from ruichat.model.checkpoint import load_mini
from ruichat.model.region_state import no_regions
from ruichat.serve.heap import give_back

MAX_MB = 100
"""What 100 lengths may add; without a bound they add three times as much."""


def own_mb() -> float:
    gc.collect()
    give_back()
    return memory_mb(os.getpid(), "Pss_Anon")


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_prompts_of_any_length_add_no_memory() -> None:
    model = load_mini(num_threads=1)

    def ask(lengths: range) -> None:
        for length in lengths:
            model.decoder.read(model.decoder.start(), [5] * length, no_regions(model.shape))

    ask(range(2, 200))
    before = own_mb()
    ask(range(200, 300))
    grown = own_mb() - before
    assert grown < MAX_MB, f"{grown:.0f} MB"
