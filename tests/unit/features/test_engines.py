"""Many slides: same bytes whoever works, nothing computed twice, nothing lost when workers die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_tissue, write_pyramid
from fakes import COUNTED_PX, MeanColourEncoder, counted_card, load_counted
from pydantic import TypeAdapter

from ruichat.errors import ConfigError, ModelError, PrerequisiteError
from ruichat.features.cores import usable_cores, usable_gpus
from ruichat.features.engines import run_jobs
from ruichat.features.engines.local import share_machine
from ruichat.features.engines.ray import Extractor, divide
from ruichat.features.extract import BATCH_TILES, ExtractConfig
from ruichat.features.jobs import Outcome, Settings, make_jobs, run_job
from ruichat.features.runtime.ways import RunConfig

NUM_TILES = 12 * 8


@pytest.fixture
def slides(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "slides"
    folder.mkdir()
    size = 12 * COUNTED_PX, 8 * COUNTED_PX
    return [
        write_pyramid(folder / f"s{i}.tif", draw_tissue(*size, seed=i), mpp=0.5) for i in range(4)
    ]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "encoded"
    path.touch()
    monkeypatch.setenv("RUICHAT_TEST_LOG", str(path))
    return path


def settings(store: Path, **changes: object) -> Settings:
    card = counted_card()
    return Settings(card, ExtractConfig.for_encoder(card), store, **changes)  # type: ignore[arg-type]


def content(store: Path) -> dict[str, bytes]:
    """All of a store that its users see."""
    return {path.name: path.read_bytes() for path in sorted(store.iterdir()) if path.is_file()}


def run_here(slides: list[Path], store: Path) -> list[Outcome]:
    """In this process, one slide after another."""
    chosen = settings(store)
    encoder = chosen.load()
    return [run_job(job, chosen, encoder) for job in make_jobs(slides)]


def encoded(log: Path) -> dict[int, int]:
    """Tiles by process."""
    tiles: dict[int, int] = {}
    for line in log.read_text().splitlines():
        pid, num = map(int, line.split())
        tiles[pid] = tiles.get(pid, 0) + num
    return tiles


def test_processes_fill_the_store_with_the_bytes_of_one_process(
    slides: list[Path], tmp_path: Path, log: Path
) -> None:
    run_here(slides, tmp_path / "one")
    log.write_text("")
    seen: dict[str, tuple[int, int]] = {}
    outcomes = list(
        run_jobs(
            make_jobs(slides),
            settings(tmp_path / "many"),
            workers=2,
            watch=lambda slide, done, total: seen.update({slide: (done, total)}),
        )
    )
    assert [o.status for o in outcomes] == ["done"] * 4
    assert seen == {str(path): (NUM_TILES, NUM_TILES) for path in slides}
    assert content(tmp_path / "many") == content(tmp_path / "one")
    assert set(content(tmp_path / "one")) == {"s0.h5", "s1.h5", "s2.h5", "s3.h5", "store.json"}
    assert sum(encoded(log).values()) == 4 * NUM_TILES
    assert not list((tmp_path / "many" / ".unfinished").rglob("*.shard"))


def test_workers_that_are_killed_lose_and_repeat_nothing(
    slides: list[Path], tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is killed whenever it has encoded two batches; its slide is taken up again."""
    run_here(slides, tmp_path / "whole")
    log.write_text("")
    monkeypatch.setenv("RUICHAT_TEST_SLEEP", "0.05")
    killed: set[int] = set()
    chosen = settings(tmp_path / "store", shard_s=0.0)
    with _Killer(lambda: _kill_one(log, killed)):
        outcomes = list(run_jobs(make_jobs(slides), chosen, workers=1))
    assert [o.status for o in outcomes] == ["done"] * 4
    assert len(killed) == 2
    assert content(tmp_path / "store") == content(tmp_path / "whole")
    # Of a batch, a kill may come between its encoding and its shard.
    total = sum(encoded(log).values())
    assert 4 * NUM_TILES <= total <= 4 * NUM_TILES + len(killed) * BATCH_TILES


def _kill_one(log: Path, killed: set[int]) -> None:
    pids = [int(line.split()[0]) for line in log.read_text().splitlines()]
    for pid in set(pids) - killed:
        if pids.count(pid) >= 2 and len(killed) < 2:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)


class _Killer:
    """Calls something every few milliseconds while it is entered."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work, self._stop = work, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._work()
            time.sleep(0.01)


def test_a_slide_that_kills_its_workers_is_a_failure_and_the_others_are_done(
    slides: list[Path], tmp_path: Path
) -> None:
    picture = np.full((8 * COUNTED_PX, 12 * COUNTED_PX, 3), (40, 15, 50), np.uint8)
    deadly = write_pyramid(tmp_path / "slides" / "deadly.tif", picture, mpp=0.5)
    jobs = make_jobs([deadly, *slides[:1]])
    chosen = settings(tmp_path / "s", max_deaths=2)
    outcomes = {Path(o.slide).stem: o for o in run_jobs(jobs, chosen, workers=1)}
    assert outcomes["s0"].status == "done"
    assert outcomes["deadly"].status == "failed" and outcomes["deadly"].error == "InputError"
    assert "ended 2 processes" in outcomes["deadly"].message
    assert "--workers 1" in outcomes["deadly"].hint
    assert set(content(tmp_path / "s")) == {"s0.h5", "store.json"}


def test_what_stops_every_slide_stops_the_run(slides: list[Path], tmp_path: Path) -> None:
    jobs = make_jobs(slides)
    list(run_jobs(jobs[:1], settings(tmp_path / "store"), workers=1))
    other = ExtractConfig.for_encoder(counted_card())
    other = other.model_copy(update={"grid": other.grid.model_copy(update={"min_tissue": 0.9})})
    with pytest.raises(ConfigError, match="made otherwise: config_fingerprint"):
        list(run_jobs(jobs, Settings(counted_card(), other, tmp_path / "store"), workers=1))


def test_workers_that_cannot_start_are_not_started_forever(
    slides: list[Path], tmp_path: Path
) -> None:
    card = settings(tmp_path).card
    deadly = type(card)(
        **{f: getattr(card, f) for f in card.__dataclass_fields__} | {"loader": "fakes:load_deadly"}
    )
    chosen = Settings(deadly, ExtractConfig.for_encoder(deadly), tmp_path / "store")
    with pytest.raises(PrerequisiteError, match="3 workers ended with -6"):
        list(run_jobs(make_jobs(slides), chosen, workers=1))


@pytest.mark.parametrize(
    ("nodes", "workers", "share"),
    [
        ([{"CPU": 2.0}], None, (1, 2, 0.0)),
        ([{"CPU": 2.0}], 2, (2, 1, 0.0)),
        ([{"CPU": 16.0}, {"CPU": 8.0}], None, (6, 4, 0.0)),
        ([{"CPU": 16.0, "GPU": 2.0}, {}], None, (2, 4, 1.0)),
        ([{"CPU": 16.0, "GPU": 2.0}], 8, (8, 2, 0.25)),
    ],
)
def test_a_cluster_is_divided_by_its_size(
    nodes: list[dict[str, float]], workers: int | None, share: tuple[int, int, float]
) -> None:
    found = divide(nodes, workers)
    assert (found.num_actors, found.num_cpus, found.num_gpus) == share


def test_workers_take_gpus_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-ab")
    assert usable_gpus() == ["3", "GPU-ab"]
    shares = share_machine(3, usable_gpus())
    given = [share.environment["CUDA_VISIBLE_DEVICES"] for share in shares]
    assert given == ["3", "GPU-ab", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert usable_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    lister = tmp_path / "nvidia-smi"
    lister.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho 'GPU 1: A (UUID: y)'\n")
    lister.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert usable_gpus() == ["0", "1"]
    assert RunConfig().may_choose_gpu and not RunConfig(device="cuda:1").may_choose_gpu
    assert not RunConfig(runtime="openvino").may_choose_gpu


def test_workers_share_the_cores() -> None:
    cores = usable_cores()
    shares = [share.cores for share in share_machine(2, [])]
    if len(cores) > 1:
        assert sorted(shares[0] + shares[1]) == cores and all(shares)
    assert all(share.cores for share in share_machine(len(cores) + 1, []))


def test_an_actor_tells_its_outcomes_as_json(slides: list[Path], tmp_path: Path) -> None:
    jobs = make_jobs(slides)
    actor = Extractor(settings(tmp_path / "store"), jobs)
    row = actor({"item": np.array([1])})
    outcome = TypeAdapter(Outcome).validate_json(row["outcome"][0])
    assert (outcome.status, outcome.bag, outcome.num_tiles) == ("done", "s1.h5", NUM_TILES)
    assert outcome.slide == str(slides[1])


def test_an_actor_without_an_encoder_says_why(slides: list[Path], tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "theirs.h5").touch()
    actor = Extractor(settings(tmp_path / "store"), make_jobs(slides))
    outcome = TypeAdapter(Outcome).validate_json(actor({"item": np.array([0])})["outcome"][0])
    assert outcome.status == "stopped"
    with pytest.raises(ConfigError, match="isn't a store"):
        outcome.raise_error()


def test_a_cluster_without_machines_is_refused() -> None:
    with pytest.raises(PrerequisiteError, match="no CPUs"):
        divide([{"GPU": 1.0}], None)


def test_the_counted_encoder_counts(log: Path) -> None:
    load_counted(RunConfig()).encode(np.full((3, 8, 8, 3), 200, np.uint8))
    assert encoded(log) == {os.getpid(): 3}


class _ReadLate(MeanColourEncoder):
    """An encoder that says when its files are read, or can't be."""

    def __init__(self, error: ModelError | None = None) -> None:
        super().__init__(name="counted", tile_px=COUNTED_PX)
        self.card = counted_card()
        self.error, self.loaded = error, 0

    def load(self) -> None:
        self.loaded += 1
        if self.error is not None:
            raise self.error


def test_a_complete_store_needs_no_weights(slides: list[Path], tmp_path: Path) -> None:
    chosen = settings(tmp_path / "store")
    encoder = _ReadLate()
    done = [run_job(job, chosen, encoder).status for job in make_jobs(slides)]
    assert (done, encoder.loaded) == (["done"] * 4, 4)
    encoder = _ReadLate()
    done = [run_job(job, chosen, encoder).status for job in make_jobs(slides)]
    assert (done, encoder.loaded, encoder.calls) == (["skipped"] * 4, 0, 0)


def test_weights_that_cant_be_read_end_the_run(slides: list[Path], tmp_path: Path) -> None:
    encoder = _ReadLate(ModelError("other weights", hint="get others"))
    outcome = run_job(make_jobs(slides)[0], settings(tmp_path / "store"), encoder)
    assert outcome.status == "stopped"
    with pytest.raises(ModelError, match="other weights"):
        outcome.raise_error()
