"""Which way of running an encoder is fastest on this machine, measured once and remembered."""

from __future__ import annotations

import gc
import hashlib
import importlib.metadata
import json
import logging
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from ruichat.config import Config
from ruichat.errors import ModelError, RuiChatError
from ruichat.features.runtime.runners import Runner, Tiles
from ruichat.features.runtime.ways import Way
from ruichat.storage.artifacts import write_atomic

log = logging.getLogger(__name__)

MIN_COSINE = 0.999
"""Between embeddings of a way and of float32, for each tile, below which it isn't taken."""

WORTH = 1.1
"""So many times as fast a less exact way must be to be taken."""

MEASURE_S = 2.0
"""For so long a way is timed, or until its first batch is done."""

PACKAGES = ("torch", "openvino", "ruichat")
"""Of which another version may be faster or slower."""

Start = Callable[[Way], Runner]

Note = Callable[[str], None]


class Trial(Config):
    """What was measured of one way."""

    way: str
    tiles_per_s: float
    """The best of several batches."""
    cosine: float
    """To torch's embeddings in float32, the least over the sample."""


class Trials(Config):
    """What was measured of the ways that were allowed, and where."""

    place: dict[str, str]
    trials: tuple[Trial, ...]

    def best(self) -> Way:
        """The fastest way that changes embeddings little; bf16 only where it is worth it.

        Raises:
            ModelError: there is none, naming how far each is from float32.
        """
        fit = [trial for trial in self.trials if trial.cosine >= MIN_COSINE]
        if not fit:
            found = ", ".join(f"{trial.way} {trial.cosine:.5f}" for trial in self.trials)
            raise ModelError(
                f"no way of running this encoder keeps cosine {MIN_COSINE} to float32: {found}",
                hint="Run it with --precision fp32",
            )
        return Way.parse(max(fit, key=_merit).way)


def _merit(trial: Trial) -> float:
    exact = Way.parse(trial.way).precision == "fp32"
    return trial.tiles_per_s * (WORTH if exact else 1.0)


def choose(
    ways: tuple[Way, ...],
    start: Start,
    sample: Callable[[], Tiles],
    *,
    place: dict[str, str],
    cache: Path,
    note: Note = log.info,
) -> Way:
    """The fastest of some ways to run an encoder, from memory where it was measured before.

    Args:
        ways: to choose from, all on one kind of device.
        start: makes the encoder ready to run in a way.
        sample: gives tiles to measure with.
        place: all that speed hangs on, see `place_of`.
        cache: folder in which measurements are kept.
        note: told what takes so long.

    Raises:
        ModelError: none of the ways keeps embeddings close to float32.
        RuiChatError: none of the ways can be run here.
        ArtifactError: the cache can't be written.
    """
    key = hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()[:20]
    path = cache / "runtimes" / f"{key}.json"
    trials = _remembered(path, place)
    if trials is None:
        note(f"measuring how this encoder runs fastest here: {', '.join(map(str, ways))}")
        trials = Trials(place=place, trials=measure(ways, start, sample()))
        write_atomic(path, trials.model_dump_json(indent=2).encode())
        note("; ".join(f"{t.way}: {t.tiles_per_s:.3g} tiles/s" for t in trials.trials))
    return trials.best()


def place_of(digest: str, ways: tuple[Way, ...], device: str, num_threads: int) -> dict[str, str]:
    """All that the speed of an encoder hangs on; another value of any means measuring again."""
    return {
        "encoder": digest,
        "ways": " ".join(map(str, ways)),
        "device": device,
        "threads": str(num_threads),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def cpu_name() -> str:
    """The processor's name and a digest of what it can do: virtual ones share names."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    pairs = [line.partition(":") for line in lines]
    facts = {name.strip(): value.strip() for name, _, value in pairs}
    name = facts.get("model name") or platform.processor() or platform.machine()
    flags = facts.get("flags") or facts.get("Features") or ""
    return f"{name} {hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def measure(ways: tuple[Way, ...], start: Start, tiles: Tiles) -> tuple[Trial, ...]:
    """Run the same tiles in each way, one way after the other: memory holds one at a time.

    Raises:
        RuiChatError: none of the ways can be run here.
    """
    exact = Way("cuda" if ways[0].runtime == "cuda" else "torch", "fp32")
    wanted, speed = _timed(start, exact, tiles)
    found = [Trial(way=str(exact), tiles_per_s=speed, cosine=1.0)] if exact in ways else []
    failed: list[RuiChatError] = []
    for way in ways:
        if way == exact:
            continue
        try:
            embeddings, speed = _timed(start, way, tiles)
        except RuiChatError as error:
            log.warning("%s isn't taken: %s", way, error.message)
            failed.append(error)
            continue
        cosine = least_cosine(embeddings, wanted)
        found.append(Trial(way=str(way), tiles_per_s=speed, cosine=cosine))
    if not found:
        raise failed[0]
    return tuple(found)


def least_cosine(
    found: Float32[NDArray[np.float32], "n d"], wanted: Float32[NDArray[np.float32], "n d"]
) -> float:
    """Between rows, the least over rows; -1 where a row isn't finite."""
    if not np.isfinite(found).all():
        return -1.0
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((found * wanted).sum(axis=1) / np.maximum(lengths, 1e-30)).min())


def _timed(start: Start, way: Way, tiles: Tiles) -> tuple[NDArray[np.float32], float]:
    """Embeddings and the best of several speeds, tiles per second."""
    run = start(way)
    run(tiles[:1])  # builds what is built on first use
    best, end = float("inf"), time.perf_counter() + MEASURE_S
    while True:
        began = time.perf_counter()
        embeddings = run(tiles)
        now = time.perf_counter()
        best = min(best, now - began)
        if now > end:
            break
    del run
    gc.collect()
    return embeddings, len(tiles) / best


def _remembered(path: Path, place: dict[str, str]) -> Trials | None:
    try:
        trials = Trials.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or not ours: it is measured again
        return None
    return trials if trials.place == place else None
