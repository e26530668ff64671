"""Who does the work on many slides: processes of this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from ruichat.features.jobs import Job, Outcome, Settings

EngineName = Literal["local", "ray"]

Note = Callable[[str], None]

Watch = Callable[[str, int, int], None]
"""Called with a slide's path, its tiles done and its tiles in all."""


def run_jobs(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    engine: EngineName = "local",
    workers: int | None = None,
    ray_address: str | None = None,
    watch: Watch | None = None,
    note: Note | None = None,
) -> Iterator[Outcome]:
    """Extract slides; outcomes come as they are ready, one per job.

    Both engines fill the same store with the same bytes.

    Args:
        jobs: the slides.
        settings: of the extraction.
        engine: "local" or "ray".
        workers: processes that each hold an encoder; chosen by the machine if None.
        ray_address: of a running cluster; Ray is started on this machine if None.
        watch: told of tiles where the engine hears of them.
        note: told what takes long.

    Raises:
        RuiChatError: nothing can be done for any slide, for example without weights.
    """
    if engine == "ray":
        from ruichat.features.engines.ray import run_ray

        outcomes = run_ray(jobs, settings, workers=workers, address=ray_address, note=note)
    else:
        from ruichat.features.engines.local import run_local

        outcomes = run_local(jobs, settings.settled(note), workers=workers, watch=watch)
    for outcome in outcomes:
        if outcome.status == "stopped":
            outcome.raise_error()
        yield outcome
