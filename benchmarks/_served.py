"""A server of ours in its own process, as `ruichat serve` starts it, with one slide in one case."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from _common import ROOT

START_S = 180.0


@contextmanager
def ruichat_server(folder: Path, data: Path, **settings: str) -> Generator[str]:
    """The address of a server for a single user, with one folder of slides.

    Args:
        folder: of slides.
        data: of the server.
        settings: more of `ServeSettings`, as text.
    """
    given = {"slide_folders": str(folder), "data_dir": str(data), "port": "0", **settings}
    environment = {f"RUICHAT_SERVE_{name.upper()}": value for name, value in given.items()}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    log = data.parent / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ruichat", "serve"],
            env=os.environ | environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(30)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """What the server announces."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        words = log.read_text(errors="replace").split()
        found = [word for word in words if word.startswith("http://127.0.0.1:")]
        if found:
            return found[0].rstrip("/.,")
        time.sleep(0.1)
    raise RuntimeError(f"the server doesn't start: {log.read_text(errors='replace')[-2000:]}")


def add_slide(data: Path, folder: Path, path: Path) -> tuple[str, str]:
    """A slide of the folder in a new case of the single user; ids of the case and the slide."""
    from ruichat.serve.access.identity import SINGLE_USER
    from ruichat.storage.database import cases, slides, users
    from ruichat.storage.database.connect import open_database

    database = open_database(f"sqlite:///{data / 'ruichat.db'}")
    with database.session() as session:
        owner = users.find_user(session, name=SINGLE_USER)
        assert owner is not None, "the server makes it when it starts"
        case = cases.create_case(session, user_id=owner.id, title="benchmark")
        slide = slides.add_slide(
            session,
            user_id=owner.id,
            case_id=case.id,
            name=path.stem,
            root=folder.name,
            path=path.name,
        )
        found = case.id, slide.id
    database.close()
    return found
