"""How the server does, for Prometheus: counts and times, nothing about patients or people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from starlette.requests import Request
from starlette.responses import Response

from ruichat.serve.access.roles import CurrentUser, Right
from ruichat.serve.access.routes import PUBLIC, USER_KEY
from ruichat.serve.access.tokens import same
from ruichat.serve.problems import AccessError
from ruichat.serve.settings import ServeSettings

if TYPE_CHECKING:
    from ruichat.serve.engine.engine import Engine

router = APIRouter(include_in_schema=False)

MEDIA_TYPE = "text/plain; version=1.0.0; charset=utf-8"

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of times of requests; tiles are to stay under 0.1."""

UNKNOWN = "other"
"""Route of requests that found none: their paths are a client's words."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counters of one server.

    Args:
        engine: whose queue is shown.
    """

    def __init__(self, engine: Engine) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._requests = Counter(
            "ruichat_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "ruichat_request_seconds",
            "Time until an answer had left.",
            ("route",),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._registry.register(_EngineFigures(engine))

    def note(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count one request; `route` is the pattern, never the path."""
        name = route or UNKNOWN
        known = method if method in _METHODS else UNKNOWN
        self._requests.labels(known, name, str(status)).inc()
        self._seconds.labels(name).observe(seconds)

    def page(self) -> bytes:
        """All figures, in Prometheus' text form."""
        return generate_latest(self._registry)


class _EngineFigures:
    """The engine's state at the moment it is asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One gauge per figure."""
        now = self._engine.status()
        figures = {
            "waiting": ("Questions that wait.", now.num_waiting),
            "answering": ("Answers being written.", now.num_answering),
            "reading": ("Slides being read, or waiting for it.", now.num_reading),
            "slides": ("Slides that stay read.", now.num_slides),
            "memory_bytes": ("Taken by them and by dialogues, about.", now.memory_bytes),
        }
        for name, (words, value) in figures.items():
            yield GaugeMetricFamily(f"ruichat_engine_{name}", words, value)


@router.get("/metrics", dependencies=[Depends(PUBLIC)])
def metrics(request: Request) -> Response:
    """For an admin, whoever has the operator's token, or the machine itself."""
    from ruichat.serve.services import services_of

    services = services_of(request)
    check_may_see(request, services.settings)
    return Response(services.metrics.page(), media_type=MEDIA_TYPE)


def check_may_see(request: Request, settings: ServeSettings) -> None:
    """Refuse whoever may not see the figures.

    A server that others reach through a proxy can't tell them from the machine itself, so there
    the address counts for nothing.

    Raises:
        AccessError: neither an admin, nor the token, nor a server for this machine alone.
    """
    user = request.scope.get(USER_KEY)
    if settings.on_loopback or (isinstance(user, CurrentUser) and user.holds(Right.ADMINISTER)):
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and same(given, settings.metrics_token.get_secret_value()):
        return
    raise AccessError(
        "these figures are for admins",
        hint="Send the token of RUICHAT_SERVE_METRICS_TOKEN",
        status=401 if user is None else 403,
    )
