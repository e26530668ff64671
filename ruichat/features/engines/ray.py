"""Slides shared out over a Ray cluster: actors that each hold an encoder."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from ruichat.errors import PrerequisiteError, RuiChatError
from ruichat.features.engines.local import CORES_EACH
from ruichat.features.jobs import Job, Outcome, Settings, run_job
from ruichat.registry import require
from ruichat.slide.sandbox import start_ahead

MAX_DEATHS = 100
"""As `jobs.MAX_DEATHS`, but machines of a cluster come and go for reasons of their own."""

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
"""Nothing is reported to Ray's makers, and nobody without the cluster's token gets in."""


@dataclass(frozen=True)
class Share:
    """How a cluster is divided.

    Attributes:
        num_actors: that hold an encoder.
        num_cpus: reserved by each.
        num_gpus: reserved by each; a part of one where several share it.
    """

    num_actors: int
    num_cpus: int
    num_gpus: float


def run_ray(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    workers: int | None = None,
    address: str | None = None,
    note: Callable[[str], None] | None = None,
) -> Iterator[Outcome]:
    """Extract slides with Ray Data; actors that die are started again, their slides taken up.

    Args:
        jobs: the slides; every machine sees them and the store under the same paths.
        settings: of the extraction.
        workers: actors; chosen by the cluster's size if None.
        address: of a running cluster; Ray is started on this machine if None.
        note: told what takes long.

    Raises:
        PrerequisiteError: Ray isn't installed, or the cluster can't be reached.
    """
    if "ray" not in sys.modules:  # which reads them once: later they'd hold for its children only
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
    ray: Any = require("ray", extra="ray")
    data: Any = require("ray.data", extra="ray")
    _connect(ray, address)
    try:
        share = divide([node["Resources"] for node in ray.nodes() if node["Alive"]], workers)
        waiting = [replace(job, wait=True) for job in jobs]
        settings = _settle(ray, settings, share, note)
        lasting = replace(settings, max_deaths=max(settings.max_deaths, MAX_DEATHS))
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        # A block per slide: what a dead actor had is all that is begun again.
        items = data.from_items(list(range(len(jobs))), override_num_blocks=len(jobs))
        outcomes = items.map_batches(
            Extractor,
            fn_constructor_args=(lasting, waiting),
            batch_size=1,
            compute=data.ActorPoolStrategy(
                size=min(share.num_actors, len(jobs)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=share.num_cpus,
            num_gpus=share.num_gpus,
        )
        for row in outcomes.iter_rows():
            yield TypeAdapter(Outcome).validate_json(row["outcome"])
    finally:
        ray.shutdown()


class Extractor:
    """An actor: loads and warms the encoder once, then extracts one slide after another.

    Args:
        settings: of the extraction.
        jobs: of the whole run; blocks name them by number.
    """

    def __init__(self, settings: Settings, jobs: Sequence[Job]) -> None:
        self._settings, self._jobs = settings, jobs
        self._error: RuiChatError | None = None
        try:
            self._encoder = settings.load()
            side = settings.card.tile_px
            # What is compiled or loaded on first use is so here, where no slide is lost to it.
            self._encoder.encode(np.full((1, side, side, 3), 255, np.uint8))
            require("h5py")
            start_ahead()
        except RuiChatError as error:  # an actor that can't be made ends the run without a reason
            self._error = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Outcomes, as JSON, of the slides whose numbers are in `batch`."""
        return {"outcome": [json.dumps(asdict(self._run(int(i)))) for i in batch["item"]]}

    def _run(self, number: int) -> Outcome:
        if self._error is not None:
            return Outcome.of_error(Path(), self._error, "stopped")
        return run_job(self._jobs[number], self._settings, self._encoder)


def divide(nodes: Sequence[dict[str, float]], workers: int | None) -> Share:
    """Actors for machines with such resources; several cores for each where there are enough.

    Raises:
        PrerequisiteError: there is no machine.
    """
    cpus = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if not cpus:
        raise PrerequisiteError("the Ray cluster has no CPUs", hint="Start it with --num-cpus")
    each = min(CORES_EACH, min(cpus))
    if workers is not None:
        each = max(1, min(each, sum(cpus) // workers))
    actors = workers or gpus or sum(num // each for num in cpus)
    return Share(actors, each, min(1.0, gpus / actors))


def _settle(
    ray: Any, settings: Settings, share: Share, note: Callable[[str], None] | None
) -> Settings:
    """Settings with the one way in which all actors run the encoder.

    Actors with a GPU are on other machines than this, so one like them chooses.

    Raises:
        RuiChatError: the encoder can't be loaded or run.
    """
    if share.num_gpus == 0:
        if settings.run.device == "auto":  # a GPU here is no actor's
            settings = replace(settings, run=settings.run.model_copy(update={"device": "cpu"}))
        return settings.settled(note)
    remote = ray.remote(num_cpus=share.num_cpus, num_gpus=share.num_gpus)(_settled)
    found: Settings | Outcome = ray.get(remote.remote(settings))
    if isinstance(found, Outcome):
        found.raise_error()
    return found


def _settled(settings: Settings) -> Settings | Outcome:
    try:
        return settings.settled()
    except RuiChatError as error:
        return Outcome.of_error(Path(), error, "stopped")


def _connect(ray: Any, address: str | None) -> None:
    settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        settings["include_dashboard"] = False
    try:
        ray.init(address=address or "local", **settings)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise PrerequisiteError(
            f"Ray can't be reached at {address or 'this machine'} "
            f"({str(error).splitlines()[0][:200]})",
            hint="docs/cluster.md says how to start a cluster",
        ) from error
