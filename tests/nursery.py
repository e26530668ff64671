"""Starts servers in no time: everything is imported once, and each server is a fork of that."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import ruichat


class Nursery:
    """A process that forks servers on demand; each listens on a free port of loopback.

    Args:
        data: folder of the servers' data.
        environment: more variables for them.
    """

    def __init__(self, data: Path, environment: dict[str, str] | None = None) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RUICHAT_SERVE_")}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            # Ours, also where another checkout is installed.
            env=kept | {"PYTHONPATH": str(Path(ruichat.__file__).parents[1])} | (environment or {}),
        )
        self._started: list[int] = []
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def start(self) -> tuple[int, str]:
        """A server's process id and address, once it answers."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("start\n")
        pid, port = self._process.stdout.readline().split()
        while not self._process.stdout.readline().startswith("Ctrl-C stops it"):
            pass
        self._started.append(int(pid))
        return int(pid), f"http://127.0.0.1:{port}"

    def kill(self, pid: int) -> None:
        """End a server at once, with what it has started; one that is dead already stays so."""
        if pid not in self._started:
            return  # the number may be another process's by now
        self._started.remove(pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def close(self) -> None:
        """End the nursery and what servers are left of it."""
        for pid in list(self._started):
            self.kill(pid)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def nurse(data: Path) -> None:
    """The nursery's own life."""
    from ruichat.cli.serve import QUIET, listen, run_server

    os.environ.update(QUIET)
    import ruichat.serve.app  # noqa: F401
    from ruichat.serve.settings import ServeSettings

    settings = ServeSettings.read(data_dir=data)
    # The kernel buries the servers.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    for _ in sys.stdin:
        listener = listen("127.0.0.1", 0)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            print(os.getpid(), listener.getsockname()[1], flush=True)
            run_server(settings, listener)
            os._exit(0)
        listener.close()


if __name__ == "__main__":
    nurse(Path(sys.argv[1]))
