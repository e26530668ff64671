"""Slides shared out among processes of this machine, each with its encoder and its decoders."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from ruichat.errors import PrerequisiteError, RuiChatError
from ruichat.features.cores import usable_cores, usable_gpus
from ruichat.features.engines import Watch
from ruichat.features.jobs import Job, Outcome, Settings, run_job

CORES_EACH = 4
"""Per worker: encoders gain little from more threads, readers of slides nothing."""

MAX_FALSE_STARTS = 3
"""Workers that may die one after the other before they have loaded the encoder."""

REPORT_S = 0.2
"""Time between two reports of a worker on its tiles."""

_START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""A server that has imported everything forks workers in milliseconds: replacing one is cheap."""

Message = Literal["ready"] | tuple[int, int] | Outcome
"""What a worker sends: that it has its encoder; tiles done and in all; a finished slide."""


def run_local(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    workers: int | None = None,
    watch: Watch | None = None,
) -> Iterator[Outcome]:
    """Extract slides with worker processes; one that dies is replaced, its slide taken up again.

    Raises:
        PrerequisiteError: workers die before they have loaded the encoder.
    """
    gpus = usable_gpus() if settings.run.may_choose_gpu else []
    wanted = workers or len(gpus) or max(1, len(usable_cores()) // CORES_EACH)
    pool = _Pool(jobs, settings, share_machine(min(wanted, len(jobs)), gpus), watch)
    try:
        yield from pool.run()
    finally:
        pool.close()


@dataclass(frozen=True)
class Share:
    """A worker's part of the machine.

    Attributes:
        cores: of its own: encoders would otherwise start threads for all of them.
        environment: that it is to have.
    """

    cores: list[int]
    environment: dict[str, str]


def share_machine(num_workers: int, gpus: Sequence[str]) -> list[Share]:
    """Parts for so many workers; where there are GPUs, one for each in turn."""
    cores, environment = usable_cores(), dict(os.environ)
    return [
        Share(
            cores[i::num_workers] or cores,
            environment | ({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {}),
        )
        for i in range(num_workers)
    ]


class _Worker:
    """One process, and the slide that it has."""

    def __init__(self, settings: Settings, share: Share) -> None:
        context: Any = multiprocessing.get_context(_START_METHOD)
        if _START_METHOD == "forkserver":
            context.set_forkserver_preload(["__main__", __name__])
        self.share = share
        self.connection, theirs = multiprocessing.Pipe()
        self.process: BaseProcess = context.Process(
            target=_work, args=(theirs, settings, share), daemon=True
        )
        self.process.start()
        theirs.close()
        self.is_ready = False
        self.job: Job | None = None

    def give(self, job: Job) -> bool:
        """Send a job; False if the worker is gone."""
        try:
            self.connection.send(job)
        except OSError:
            return False
        self.job = job
        return True

    def take(self) -> Message | None:
        """The next message; None if the worker died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def kill(self) -> None:
        """End the process, whatever it does: finished tiles are on disk."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Pool:
    """Workers and the queue of slides."""

    def __init__(
        self, jobs: Sequence[Job], settings: Settings, shares: list[Share], watch: Watch | None
    ) -> None:
        self._queue = deque(jobs)
        self._left = len(jobs)
        self._settings, self._watch = settings, watch
        self._false_starts = 0
        self._workers = [_Worker(settings, share) for share in shares]

    def run(self) -> Iterator[Outcome]:
        """Outcomes as they are ready."""
        while self._left:
            for worker in list(self._workers):
                if worker.is_ready and worker.job is None and self._queue:
                    self._hand_out(worker)
            by_connection = {worker.connection: worker for worker in self._workers}
            for ready in wait(list(by_connection)):
                assert isinstance(ready, Connection)
                outcome = self._hear(by_connection[ready])
                if outcome is not None:
                    self._left -= 1
                    yield outcome

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.kill()

    def _hand_out(self, worker: _Worker) -> None:
        job = self._queue.popleft()
        if not worker.give(job):
            self._queue.appendleft(job)

    def _hear(self, worker: _Worker) -> Outcome | None:
        message = worker.take()
        if message is None:
            self._replace(worker)
        elif message == "ready":
            worker.is_ready = True
            self._false_starts = 0
        elif isinstance(message, Outcome):
            job, worker.job = worker.job, None
            if message.status != "busy":
                return message
            assert job is not None
            self._queue.append(replace(job, wait=True))
        elif worker.job is not None and self._watch is not None:
            done, total = message
            self._watch(str(worker.job.path), done, total)
        return None

    def _replace(self, dead: _Worker) -> None:
        """Another worker, and the dead one's slide first: its shards wait for it."""
        dead.kill()
        if not dead.is_ready:
            self._false_starts += 1
            if self._false_starts >= MAX_FALSE_STARTS:
                raise PrerequisiteError(
                    f"{self._false_starts} workers ended with {dead.process.exitcode} before they "
                    "had loaded the encoder",
                    hint="Give fewer workers (--workers 1) or more memory",
                )
        if dead.job is not None:
            self._queue.appendleft(dead.job)
        self._workers[self._workers.index(dead)] = _Worker(self._settings, dead.share)


def _work(connection: Connection, settings: Settings, share: Share) -> None:
    """A worker's life."""
    os.environ.update(share.environment)  # the server that forked us knows an earlier one
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share.cores)
    try:
        encoder = settings.load()
    except RuiChatError as error:
        connection.send(Outcome.of_error(Path(), error, "stopped"))
        return
    connection.send("ready")
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= REPORT_S:
            last = now
            with contextlib.suppress(OSError):  # told again below
                connection.send((done, total))

    while True:
        try:
            job: Job = connection.recv()
            connection.send(run_job(job, settings, encoder, report))
        except (EOFError, OSError):  # the parent is gone
            return
