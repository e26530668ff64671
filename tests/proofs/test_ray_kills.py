"""Fifty phantoms on Ray, an actor killed every two seconds: the store is the local run's."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from ruichat.features.encoder import ENCODERS
from ruichat.features.engines import run_jobs
from ruichat.features.extract import ExtractConfig
from ruichat.features.jobs import Job, Settings, make_jobs
from ruichat.slide.finding import find_slides
from ruichat.slide.phantom import PhantomConfig, draw_phantom, write_phantom

NUM_PHANTOMS = 50
KILL_S = 2.0

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ruichat[ray]"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    folder = tmp_path_factory.mktemp("phantoms")
    for seed in range(NUM_PHANTOMS):
        drawn = draw_phantom(PhantomConfig(seed=seed, width0=1792, height0=1344))
        write_phantom(drawn, folder / f"phantom-{seed:02d}.tif")
    return make_jobs(find_slides([folder]).slides)


def settings(store: Path) -> Settings:
    card = ENCODERS.get("mini")
    return Settings(card, ExtractConfig.for_encoder(card), store)


def content(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir() if path.is_file()}


def test_a_store_filled_under_kills_is_the_same(
    jobs: list[Job],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Ray's workers give way to whatever else runs: on a busy machine they'd never live to work.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    list(run_jobs(jobs, settings(tmp_path / "local"), workers=1))
    killer = _Killer()
    started = time.monotonic()
    with killer:
        outcomes = list(run_jobs(jobs, settings(tmp_path / "ray"), engine="ray", workers=2))
    seconds = time.monotonic() - started
    with capsys.disabled():
        print(f"\n{len(jobs)} phantoms, {killer.num_kills} kills, {seconds:.0f} s")
    assert [o.message for o in outcomes if o.status == "failed"] == []
    assert len(outcomes) == NUM_PHANTOMS
    assert killer.num_kills >= 3
    assert content(tmp_path / "ray") == content(tmp_path / "local")
    assert len(content(tmp_path / "ray")) == NUM_PHANTOMS + 1
    assert not list((tmp_path / "ray").rglob("*.shard"))


class _Killer:
    """Every two seconds, SIGKILL to one actor that is extracting a slide, chosen at random."""

    def __init__(self) -> None:
        self.num_kills = 0
        self._random = random.Random(0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(KILL_S):
            pids = _actors_at_work()
            if pids:
                os.kill(self._random.choice(pids), signal.SIGKILL)
                self.num_kills += 1


def _actors_at_work() -> list[int]:
    """Those of this process's Ray: their command line names the method that they execute."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        is_actor = command.startswith(b"ray::") and b"(Extractor)).submit" in command
        if is_actor and _descends(int(folder.name), os.getpid()):
            found.append(int(folder.name))
    return found


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        pid = int(stat.rsplit(")", 1)[1].split()[1])
    return False
