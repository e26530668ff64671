"""Real databases for tests: SQLite in a folder, and a private PostgreSQL from its binaries."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ACCOUNT = "postgres"
"""PostgreSQL refuses to run as root; this is who runs it there, and its first user."""

PATIENCE_S = 60


def postgres_binaries() -> Path | None:
    """Folder of initdb and postgres: on the path, or the newest of Debian's; None without."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3])
    )
    return found[-1].parent if found else None


def why_no_postgres() -> str | None:
    """Why tests on PostgreSQL can't run here; None where they can."""
    if postgres_binaries() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0 and ACCOUNT not in {entry.pw_name for entry in pwd.getpwall()}:
        return f"PostgreSQL doesn't run as root, and there is no user {ACCOUNT!r}"
    return None


class Postgres:
    """A running server, reached through a socket in a folder of its own."""

    def __init__(self, *, durable: bool = False) -> None:
        """Make and start it; `durable` costs a flush per commit, as where it counts."""
        # Short: a socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ruichat-pg-", dir="/tmp"))
        self.durable = durable
        self.made: set[str] = set()
        if os.geteuid() == 0:
            shutil.chown(self.folder, ACCOUNT)
        self.data = self.folder / "data"
        self.run("initdb", "-D", self.data, "-U", ACCOUNT, "-A", "trust", "-N", "-E", "UTF8")
        self.start()

    def url(self, name: str = ACCOUNT) -> str:
        """Of one of its databases."""
        return f"postgresql://{ACCOUNT}@/{name}?unix_sock={self.folder}/.s.PGSQL.5432"

    def create(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        self.run("createdb", "-h", self.folder, "-U", ACCOUNT, "-T", "template0", name)
        return self.url(name)

    def emptied(self, name: str) -> str:
        """URL of a database with nothing in it; cheaper than a new one, which has 300 files."""
        if name not in self.made:
            self.made.add(name)
            return self.create(name)
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        self.sql(name, f"{others} WHERE datname = '{name}' AND pid != pg_backend_pid()")
        self.sql(name, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        return self.url(name)

    def sql(self, name: str, statement: str) -> None:
        """Run a statement in one of its databases, as its first user."""
        self.run("psql", "-q", "-h", self.folder, "-U", ACCOUNT, "-c", statement, name)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["listen_addresses=", f"unix_socket_directories={self.folder}"]
        if not self.durable:
            options += ["fsync=off", "full_page_writes=off"]
        command = [self._binary("postgres"), "-D", self.data]
        for option in options:
            command += ["-c", option]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **self._account())
        ends = time.monotonic() + PATIENCE_S
        ready = [self._binary("pg_isready"), "-q", "-h", self.folder, "-U", ACCOUNT]
        while subprocess.run(ready, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the server with all its processes at once, as when a machine stops."""
        own = self.process.pid
        # So that it starts no child that isn't listed.
        os.kill(own, signal.SIGSTOP)
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        for pid in [own, *map(int, children)]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        # The next one refuses to start while a child still holds the shared memory.
        ends = time.monotonic() + PATIENCE_S
        while any(map(_is_running, children)) and time.monotonic() < ends:
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it and remove its folder."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(PATIENCE_S)
        shutil.rmtree(self.folder)

    def run(self, program: str, *arguments: object) -> None:
        """Run one of PostgreSQL's programs."""
        command = [self._binary(program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, **self._account())
        if done.returncode:
            raise RuntimeError(done.stderr)

    def _binary(self, program: str) -> str:
        folder = postgres_binaries()
        assert folder is not None
        return str(folder / program)

    def _account(self) -> dict[str, Any]:
        account = {"cwd": self.folder}
        if os.geteuid() == 0:
            account |= {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []}
        return account


def _is_running(pid: str) -> bool:
    """Whether a process is there and not just waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def small_file_system(size: str) -> Iterator[Path | None]:
    """A folder with room for `size` (as mount wants it); None where this may not mount one."""
    # Not in a test's own folder, which PostgreSQL's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="ruichat-disk-", dir="/tmp"))
    folder.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def fill_disk(folder: Path) -> Path:
    """A file that takes all that is left."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return ballast
