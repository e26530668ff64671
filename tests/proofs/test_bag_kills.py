"""Processes killed at random points while they write bags: no torn bag is ever read."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ruichat.features.bag import FeatureBag, check_bag
from ruichat.storage.artifacts import sweep

NUM_TILES, DIM = 400, 384

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def make_bag(seed: int) -> FeatureBag:
    rng = np.random.default_rng(seed)
    return FeatureBag(
        embeddings=rng.random((NUM_TILES, DIM), np.float32),
        xy0=rng.integers(0, 9000, (NUM_TILES, 2)),
        span0=224,
        base_mpp=0.5,
        size0=(9224, 9224),
        focus=rng.random(NUM_TILES, np.float32),
        hematoxylin=rng.random(NUM_TILES, np.float32),
        eosin=rng.random(NUM_TILES, np.float32),
        tissue_area_mm2=1.0,
        encoder="mini",
        encoder_digest="a" * 64,
        slide_digest=f"{seed:064d}",
        fingerprint="b" * 16,
    )


def write_forever(bags: list[FeatureBag], path: Path, began: int) -> None:
    """A child's life: writes one bag after another and never returns."""
    with contextlib.suppress(BaseException):
        while True:
            for bag in bags:
                os.write(began, b".")
                bag.save(path)
    os._exit(1)


def kill_one(bags: list[FeatureBag], path: Path, seconds: float) -> None:
    """Fork a writer and kill it so long after its first write began."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        write_forever(bags, path, writing)
    os.close(writing)
    assert os.read(reading, 1) == b"."
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    os.close(reading)


@pytest.mark.parametrize(
    "num_kills", [50, pytest.param(1000, marks=pytest.mark.proof)], ids=["some", "thousand"]
)
def test_no_torn_bag_is_ever_read(
    num_kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = [make_bag(1), make_bag(2)]
    facts = {bag.slide_digest: bag.facts for bag in bags}
    path, rng = tmp_path / "slide.h5", random.Random(0)
    path_of_first = tmp_path / "timed.h5"
    started = time.monotonic()
    bags[0].save(path_of_first)
    write_s = time.monotonic() - started
    path_of_first.unlink()
    num_unfinished = num_missing = 0
    for _ in range(num_kills):
        path.unlink(missing_ok=True)
        kill_one(bags, path, rng.uniform(0, 3 * write_s))
        num_unfinished += len(list(tmp_path.iterdir())) - path.exists()
        if path.exists():
            read = FeatureBag.load(path)
            assert read.facts == facts[read.slide_digest]
            assert np.array_equal(read.embeddings, bags[read.slide_digest.endswith("2")].embeddings)
        else:
            num_missing += 1
        # The next run sweeps what is left, and finishes.
        sweep(path)
        assert not list(tmp_path.glob(".*"))
        again = dataclasses.replace(bags[0], key="next run")
        again.save(path)
        assert check_bag(path) == again.facts
    seconds = time.monotonic() - started
    with capsys.disabled():
        sys.stdout.write(
            f"\n{num_kills} kills in {seconds:.0f} s: {num_unfinished} left an unfinished file, "
            f"{num_missing} no bag\n"
        )
    assert num_unfinished > num_kills / 10, "kills missed the writes"
