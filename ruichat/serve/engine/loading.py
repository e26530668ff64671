"""The engine's model: loaded once, by the first who needs it or ahead of everybody."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ruichat.chat.backend import Backend, load_backend
from ruichat.errors import ModelError, RuiChatError, SlowModelError
from ruichat.serve.engine.settings import EngineSettings

log = logging.getLogger(__name__)

State = Literal["waiting", "loading", "ready", "failed"]

FIRST_RETRY_S = 5.0
"""Until a load that failed is tried again; twice as long after each further failure. A model
server may start after this one, and a folder may be mended."""

LAST_RETRY_S = 60.0

CLOSING_S = 5.0
"""How long a server that stops waits for a load under way, seconds; mini's ends within it."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How it stands with the model.

    Attributes:
        state: "waiting" until somebody needs it.
        backend: the model, once it is ready.
        error: why it couldn't be loaded, where the last try failed.
        slow: what took too long while it is loaded; it is tried again.
    """

    state: State
    backend: Backend | None = None
    error: RuiChatError | None = None
    slow: SlowModelError | None = None


class LoadedModel:
    """Loads a model, at most once at a time; safe for threads.

    Args:
        load: gives the model.
        warm_up: gets it ready for its first question.
    """

    def __init__(self, load: Callable[[], Backend], warm_up: Callable[[Backend], None]) -> None:
        self._load, self._warm_up = load, warm_up
        self._one = threading.Lock()
        self._status = ModelStatus("waiting")
        self._loaded: Backend | None = None
        self._wait_s = FIRST_RETRY_S
        self._closed = threading.Event()
        self._ahead: threading.Thread | None = None

    @property
    def status(self) -> ModelStatus:
        """How it stands now; never waits."""
        return self._status

    def get(self) -> Backend:
        """The model; loaded here unless it is. Where it is tried ahead, nobody else tries.

        Raises:
            ConfigError, PrerequisiteError, ArtifactError, ModelError: it can't be loaded.
        """
        with self._one:
            status = self._status
            if status.backend is not None:
                return status.backend
            if status.error is not None and self.is_busy:
                raise status.error.with_traceback(None)  # those of all who ask would add up
            return self._try(is_ahead=False)

    def preload(self) -> None:
        """Load and warm up in a thread of its own, and try again for as long as that fails."""
        if self._status.state == "waiting":
            self._status = ModelStatus("loading")
        self._ahead = threading.Thread(target=self._load_ahead, name="load", daemon=True)
        self._ahead.start()

    def close(self) -> None:
        """Try no more, and wait a little for a load under way."""
        self._closed.set()
        if self._ahead is not None:
            self._ahead.join(CLOSING_S)

    @property
    def is_busy(self) -> bool:
        """Whether the thread that loads ahead is at it."""
        return self._ahead is not None and self._ahead.is_alive()

    def _load_ahead(self) -> None:
        while not self._closed.is_set():
            try:
                with self._one:
                    if self._status.backend is None:
                        self._try(is_ahead=True)
                return
            except RuiChatError:
                self._closed.wait(self._wait_s)

    def _try(self, *, is_ahead: bool) -> Backend:
        """Load once, with the lock held; what goes wrong is kept and told."""
        before, slow = self._status.error, self._status.slow
        if before is None:
            self._status = ModelStatus("loading", slow=slow)
        try:
            backend = self._load_told(is_ahead=is_ahead)
        except SlowModelError as error:
            if slow is None:
                log.warning("the model is still being loaded: %s", error.message)
            self._wait_s = FIRST_RETRY_S
            self._status = ModelStatus("loading", slow=error)
            raise
        except RuiChatError as error:
            self._loaded = None
            if before is None or before.message != error.message:
                log.error("the model can't be loaded: %s (%s)", error.message, error.hint)
            self._wait_s = FIRST_RETRY_S if before is None else min(LAST_RETRY_S, 2 * self._wait_s)
            self._status = ModelStatus("failed", error=error)
            raise
        self._status = ModelStatus("ready", backend)
        return backend

    def _load_told(self, *, is_ahead: bool) -> Backend:
        """The model; what a library raises over a damaged file is told as an error of ours."""
        try:
            backend = self._loaded = self._loaded or self._load()
            if is_ahead and not self._closed.is_set():
                self._warm_up(backend)
            return backend
        except RuiChatError:
            raise
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("loading the model: %s: %s\n%s", type(error).__name__, error, where)
            raise ModelError(
                f"the model couldn't be loaded ({type(error).__name__})",
                hint="The server's log says where; check the model's files",
            ) from error


def load_model(settings: EngineSettings) -> Backend:
    """The model that the operator chose.

    Raises:
        ConfigError, PrerequisiteError, ArtifactError, ModelError: it can't be loaded.
    """
    # Idle threads that spin take the cores that tiles are read with; torch may be loaded later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.num_threads))
    return load_backend(settings.model, settings.model_options, num_threads=settings.num_threads)
